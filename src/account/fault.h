/* SPDX-License-Identifier: Apache-2.0
 * fault.h - "fault:<url>" is the driver of <url> with a function in between, which tests set to
 * make calls fail, before they happen or after: then they have happened, and only the answer is
 * lost. Not in releases. */
#ifndef ACCOUNT_FAULT_H
#define ACCOUNT_FAULT_H
#include "account/account.h"

/* `call` is the field of struct account_ops ("reserve"). Anything but RC_OK becomes the call's
 * result. May be called by several threads at once. */
typedef enum rc (*account_fault_fn)(void *ctx, const char *call, bool after);

/* `account` was opened with a fault: URL and is not in use. NULL: no faults. */
void account_fault_set(struct account *account, account_fault_fn fault, void *ctx);
#endif
