/* SPDX-License-Identifier: Apache-2.0 */
#include "image/jpeg_entropy.h"

#include <string.h>

#define PEEK               JPEG_ENTROPY_PEEK
#define BLOCK_SIZE         64
#define SKIP_TO_END        128 /* coefficients that "end of block" passes over */
#define RUN_OF_ZEROS       0xF0
#define SYMBOLS_PER_REFILL 4 /* of PEEK bits at most, and the DC's before the first: 55 of 56 */

/* An entry of `fast`: value << 16 | coefficients passed over << 8 | bits taken. 0: a longer code.
 */
static int32_t entry_of(int32_t value, uint32_t run, uint32_t length)
{
    return (int32_t)((uint32_t)value << 16 | run << 8 | length);
}

/* An entry of `pass`: PASS_END where the last code ends the block, coefficients passed over (and
 * one for that end) << 4, bits taken. 0: the first code is longer. */
#define PASS_END 0x8000u

/* Zigzag order; entries past the 64th take the zeros that "end of block" and runs write there. */
#define Z63x16 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63
static const uint8_t natural[BLOCK_SIZE + SKIP_TO_END + 16] = {
    0,  1,  8,  16, 9,      2,      3,      10,     17,     24,     32,     25,     18,    11, 4,
    5,  12, 19, 26, 33,     40,     48,     41,     34,     27,     20,     13,     6,     7,  14,
    21, 28, 35, 42, 49,     56,     57,     50,     43,     36,     29,     22,     15,    23, 30,
    37, 44, 51, 58, 59,     52,     45,     38,     31,     39,     46,     53,     60,    61, 54,
    47, 55, 62, 63, Z63x16, Z63x16, Z63x16, Z63x16, Z63x16, Z63x16, Z63x16, Z63x16, Z63x16};

/* The value that `size` extra bits stand for. */
static int32_t extended(uint32_t extra, uint32_t size)
{
    if (size == 0)
        return 0;
    int32_t value = (int32_t)extra;
    return extra >> (size - 1) != 0 ? value : value - (1 << size) + 1;
}

/* What a symbol does: false where no sound file has it. */
static bool meaning(bool is_dc, uint32_t symbol, uint32_t *ret_size, uint32_t *ret_run)
{
    *ret_size = symbol & 15u;
    *ret_run = is_dc ? 0 : symbol >> 4;
    if (is_dc)
        return symbol <= 11;
    if (*ret_size == 0 && symbol != RUN_OF_ZEROS)
        *ret_run = SKIP_TO_END - 1;
    return *ret_size <= 10;
}

static void fill_fast(struct jpeg_codes *codes, uint32_t code, uint32_t length, uint32_t symbol)
{
    uint32_t size;
    uint32_t run;
    if (!meaning(codes->is_dc, symbol, &size, &run) || length + size > PEEK)
        return;
    uint32_t rest = PEEK - length - size;
    for (uint32_t extra = 0; extra < 1u << size; extra++) {
        uint32_t first = ((code << size | extra) << rest);
        int32_t entry = entry_of(extended(extra, size), run, length + size);
        for (uint32_t i = 0; i < 1u << rest; i++)
            codes->fast[first + i] = entry;
    }
}

/* Codes taken together, from `fast`: bits past the last whole code are not looked at. */
static void fill_pass(struct jpeg_codes *codes)
{
    for (uint32_t bits = 0; bits < 1u << PEEK; bits++) {
        uint32_t taken = 0;
        uint32_t passed = 0;
        uint32_t end = 0;
        while (end == 0) {
            int32_t entry = codes->fast[bits << taken & ((1u << PEEK) - 1)];
            uint32_t length = (uint32_t)entry & 0xFFu;
            uint32_t run = (uint32_t)entry >> 8 & 0xFFu;
            if (entry == 0 || taken + length > PEEK)
                break;
            taken += length;
            end = run >= SKIP_TO_END - 1 ? PASS_END : 0;
            passed += end != 0 ? 1 : run + 1;
        }
        codes->pass[bits] = (uint16_t)(end | passed << 4 | taken);
    }
}

/* Canonical codes, as the DHT segment lists them. libjpeg has checked that they fit. */
static bool build(struct jpeg_codes *codes, const JHUFF_TBL *table, bool is_dc)
{
    if (table == NULL)
        return false;
    if (codes->built && codes->is_dc == is_dc && memcmp(codes->lengths, table->bits, 17) == 0 &&
        memcmp(codes->symbols, table->huffval, 256) == 0)
        return true;
    memset(codes, 0, sizeof(*codes));
    codes->is_dc = is_dc;
    memcpy(codes->lengths, table->bits, 17);
    memcpy(codes->symbols, table->huffval, 256);
    uint32_t code = 0;
    uint32_t index = 0;
    for (uint32_t length = 1; length <= 16; length++, code <<= 1) {
        codes->offset[length] = (int32_t)index - (int32_t)code;
        for (uint32_t i = 0; i < table->bits[length]; i++, code++, index++) {
            if (index >= 256 || code >= 1u << length)
                return false;
            if (length <= PEEK)
                fill_fast(codes, code, length, codes->symbols[index]);
        }
        codes->code_end[length] = code << (16 - length);
    }
    if (!is_dc)
        fill_pass(codes);
    codes->built = true;
    return true;
}

struct reader {
    uint64_t bits;     /* left-aligned; what follows bit_count of them is not counted on */
    int32_t bit_count; /* below 0: more was taken than there is */
    const uint8_t *next;
    const uint8_t *end;
};

static uint64_t big_endian(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof(value));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* Byte by byte: 0xFF 0x00 is 0xFF, and another marker ends the data. */
static __attribute__((noinline)) void refill_slowly(struct reader *reader)
{
    while (reader->bit_count < 56 && reader->bit_count >= 0 && reader->next < reader->end) {
        uint64_t byte = *reader->next;
        if (byte == 0xFF) {
            if (reader->end - reader->next < 2 || reader->next[1] != 0)
                break;
            reader->next++;
        }
        reader->next++;
        reader->bits |= byte << (56 - reader->bit_count);
        reader->bit_count += 8;
    }
}

static void take(struct reader *reader, uint32_t count)
{
    reader->bits <<= count;
    reader->bit_count -= (int32_t)count;
}

/* A code longer than the table's, or with many extra bits. 0 where the data is unsound. */
static __attribute__((noinline)) int32_t decode_slowly(struct reader *reader,
                                                       const struct jpeg_codes *codes)
{
    refill_slowly(reader);
    uint32_t peeked = (uint32_t)(reader->bits >> 48);
    uint32_t length = 1;
    while (length <= 16 && peeked >= codes->code_end[length])
        length++;
    if (length > 16)
        return 0;
    int32_t index = (int32_t)(peeked >> (16 - length)) + codes->offset[length];
    uint32_t size;
    uint32_t run;
    if (index < 0 || index > 255 || !meaning(codes->is_dc, codes->symbols[index], &size, &run))
        return 0;
    take(reader, length);
    uint32_t extra = size == 0 ? 0 : (uint32_t)(reader->bits >> (64 - size));
    take(reader, size);
    refill_slowly(reader); /* the callers count on what they had */
    return entry_of(extended(extra, size), run, 1);
}

/* No byte of the eight is 0xFF: none of the inverse is zero. */
static inline bool no_marker(uint64_t eight)
{
    return ((~eight - 0x0101010101010101u) & eight & 0x8080808080808080u) == 0;
}

/* The reader in local variables, which a compiler keeps in registers; a struct it does not. */
#define READER_LOAD(reader)                                                                        \
    uint64_t bits = (reader)->bits;                                                                \
    int32_t bit_count = (reader)->bit_count;                                                       \
    const uint8_t *next = (reader)->next
#define READER_STORE(reader)                                                                       \
    ((reader)->bits = bits, (reader)->bit_count = bit_count, (reader)->next = next)
#define READER_RELOAD(reader)                                                                      \
    (bits = (reader)->bits, bit_count = (reader)->bit_count, next = (reader)->next)

/* Afterwards 56 bits or more are there, as long as the data lasts. Some more are loaded, and will
 * be again, to the same place. */
#define READER_REFILL(reader)                                                                      \
    do {                                                                                           \
        uint64_t more = (reader)->end - next >= 8 ? big_endian(next) : ~(uint64_t)0;               \
        if (__builtin_expect(no_marker(more) && bit_count >= 0, 1)) {                              \
            bits |= more >> bit_count;                                                             \
            next += (63 - bit_count) >> 3;                                                         \
            bit_count |= 56;                                                                       \
        } else {                                                                                   \
            READER_STORE(reader);                                                                  \
            refill_slowly(reader);                                                                 \
            READER_RELOAD(reader);                                                                 \
        }                                                                                          \
    } while (0)

/* `entry` is the next symbol's, its bits taken; 0 where the data is unsound. */
#define READER_NEXT(reader, codes, entry)                                                          \
    do {                                                                                           \
        entry = (codes)->fast[bits >> (64 - PEEK)];                                                \
        if (__builtin_expect(entry == 0, 0)) {                                                     \
            READER_STORE(reader);                                                                  \
            entry = decode_slowly(reader, codes);                                                  \
            READER_RELOAD(reader);                                                                 \
        } else {                                                                                   \
            bits <<= entry & 0xFF;                                                                 \
            bit_count -= entry & 0xFF;                                                             \
        }                                                                                          \
    } while (0)

/* One block into `block`, which is all zeros. False: unsound. */
static __attribute__((noinline)) bool decode_block(struct reader *reader,
                                                   const struct jpeg_codes *dc,
                                                   const struct jpeg_codes *ac, int32_t *last_dc,
                                                   JCOEF *block)
{
    READER_LOAD(reader);
    int32_t entry;
    READER_REFILL(reader);
    READER_NEXT(reader, dc, entry);
    if (entry == 0)
        return false;
    *last_dc += entry >> 16;
    block[0] = (JCOEF)*last_dc;
    uint32_t at = 1;
    for (;;) {
        for (int i = 0; i < SYMBOLS_PER_REFILL; i++) {
            READER_NEXT(reader, ac, entry);
            if (__builtin_expect(entry == 0, 0))
                return false;
            at += (uint32_t)entry >> 8 & 0xFFu;
            block[natural[at]] = (JCOEF)(entry >> 16);
            if (++at >= BLOCK_SIZE)
                goto end;
        }
        READER_REFILL(reader);
    }
end:
    READER_STORE(reader);
    /* Either just past the last, or far past it by "end of block". */
    return at == BLOCK_SIZE || at >= SKIP_TO_END;
}

/* The same without a block: only the DC difference is wanted. */
static __attribute__((noinline)) bool pass_block(struct reader *reader, const struct jpeg_codes *dc,
                                                 const struct jpeg_codes *ac, int32_t *last_dc)
{
    READER_LOAD(reader);
    int32_t entry;
    READER_REFILL(reader);
    READER_NEXT(reader, dc, entry);
    if (entry == 0)
        return false;
    *last_dc += entry >> 16;
    uint32_t at = 1;
    for (;;) {
        for (int i = 0; i < SYMBOLS_PER_REFILL; i++) {
            uint32_t pass = ac->pass[bits >> (64 - PEEK)];
            uint32_t after = at + (pass >> 4 & 0x7FFu);
            if (__builtin_expect(pass != 0 && after <= BLOCK_SIZE, 1)) {
                bits <<= pass & 15u;
                bit_count -= (int32_t)(pass & 15u);
                at = after;
                if (at == BLOCK_SIZE || (pass & PASS_END) != 0)
                    goto end;
                continue;
            }
            /* A long code, or the block ends among those taken together: one at a time. */
            READER_NEXT(reader, ac, entry);
            at += ((uint32_t)entry >> 8 & 0xFFu) + 1;
            if (entry == 0 || (at > BLOCK_SIZE && at < SKIP_TO_END))
                return false;
            if (at >= BLOCK_SIZE)
                goto end;
        }
        READER_REFILL(reader);
    }
end:
    READER_STORE(reader);
    return true;
}

/* At a restart marker: fewer than eight bits are left, and the right marker follows. */
static bool restart(struct jpeg_entropy *entropy, const struct jpeg_decompress_struct *jpeg)
{
    if (entropy->bit_count >= 8 || entropy->end - entropy->next < 2 || entropy->next[0] != 0xFF ||
        entropy->next[1] != 0xD0 + entropy->restart_next)
        return false;
    entropy->next += 2;
    entropy->bits = 0;
    entropy->bit_count = 0;
    memset(entropy->last_dc, 0, sizeof(entropy->last_dc));
    entropy->restart_left = jpeg->restart_interval;
    entropy->restart_next = (entropy->restart_next + 1) & 7u;
    return true;
}

static boolean decode_mcu(j_decompress_ptr jpeg, JBLOCKROW *blocks)
{
    struct jpeg_entropy *entropy = (struct jpeg_entropy *)jpeg->entropy;
    bool sound = true;
    if (jpeg->restart_interval != 0) {
        if (entropy->restart_left == 0)
            sound = restart(entropy, jpeg);
        entropy->restart_left--;
    }
    uint32_t column = entropy->mcu_column++;
    bool wanted = blocks != NULL && column >= entropy->wanted_from && column < entropy->wanted_to;
    struct reader reader = {entropy->bits, entropy->bit_count, entropy->next, entropy->end};
    for (int i = 0; sound && i < jpeg->blocks_in_MCU; i++) {
        int index = jpeg->MCU_membership[i];
        const struct jpeg_codes *dc = &entropy->dc[jpeg->cur_comp_info[index]->dc_tbl_no];
        const struct jpeg_codes *ac = &entropy->ac[jpeg->cur_comp_info[index]->ac_tbl_no];
        int32_t *last_dc = &entropy->last_dc[index];
        sound = wanted ? decode_block(&reader, dc, ac, last_dc, *blocks[i])
                       : pass_block(&reader, dc, ac, last_dc);
    }
    if (!sound || reader.bit_count < 0)
        entropy->give_up(jpeg);
    entropy->bits = reader.bits;
    entropy->bit_count = reader.bit_count;
    entropy->next = reader.next;
    if (entropy->mcu_column == jpeg->MCUs_per_row) {
        entropy->mcu_column = 0;
        entropy->on_row(jpeg);
    }
    return TRUE;
}

static bool build_all(struct jpeg_entropy *entropy, const struct jpeg_decompress_struct *jpeg)
{
    for (int i = 0; i < jpeg->comps_in_scan; i++) {
        int dc = jpeg->cur_comp_info[i]->dc_tbl_no;
        int ac = jpeg->cur_comp_info[i]->ac_tbl_no;
        if (dc < 0 || dc > 3 || ac < 0 || ac > 3 ||
            !build(&entropy->dc[dc], jpeg->dc_huff_tbl_ptrs[dc], true) ||
            !build(&entropy->ac[ac], jpeg->ac_huff_tbl_ptrs[ac], false))
            return false;
    }
    return true;
}

bool jpeg_entropy_attach(struct jpeg_entropy *entropy, j_decompress_ptr jpeg, uint32_t x,
                         uint32_t width)
{
    if (jpeg->progressive_mode || jpeg->arith_code || jpeg->data_precision != 8 ||
        jpeg->comps_in_scan != jpeg->num_components || jpeg->Ss != 0 || jpeg->Se != 63 ||
        jpeg->Ah != 0 || jpeg->Al != 0 || !build_all(entropy, jpeg))
        return false;
    entropy->base = *jpeg->entropy;
    entropy->base.decode_mcu = decode_mcu;
    entropy->next = jpeg->src->next_input_byte;
    entropy->end = entropy->next + jpeg->src->bytes_in_buffer;
    entropy->bits = 0;
    entropy->bit_count = 0;
    memset(entropy->last_dc, 0, sizeof(entropy->last_dc));
    entropy->restart_left = jpeg->restart_interval;
    entropy->restart_next = 0;
    entropy->mcu_column = 0;
    entropy->wanted_from = 0;
    entropy->wanted_to = jpeg->MCUs_per_row;
    if (jpeg->comps_in_scan > 1) {
        uint32_t mcu_width = (uint32_t)jpeg->max_h_samp_factor * DCTSIZE;
        entropy->wanted_from = x / mcu_width;
        entropy->wanted_to = (x + width - 1) / mcu_width + 1;
    }
    jpeg->entropy = &entropy->base;
    return true;
}
