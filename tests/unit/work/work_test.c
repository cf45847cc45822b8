/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "work/work.h"

#include <string.h>

TEST(a_request_has_room_for_every_picture_and_its_scores)
{
    struct work_request *request = work_request_open(7, 5);
    assert_non_null(request);
    assert_int_equal(request->image_count, 7);
    /* Under ASan, writing what it promises is the test. */
    for (uint32_t i = 0; i < 7; i++) {
        assert_ptr_equal(request->results[i].request, request);
        for (uint32_t k = 0; k < 5; k++)
            request->results[i].task.top[k] = (struct class_score){i, (float)k};
    }
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(request->results[i].task.top[4].class_id, i);
    work_request_free(request);
    work_request_free(NULL);
}

TEST_MAIN("work")
