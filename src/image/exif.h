/* SPDX-License-Identifier: Apache-2.0
 * exif.h - the orientation out of a TIFF block. Reads nothing outside it, follows no chain. */
#ifndef IMAGE_EXIF_H
#define IMAGE_EXIF_H
#include "base/bytes.h"

/* 1..8 as the first directory says; 0 where the block has none or is damaged. With or without the
 * "Exif\0\0" that JPEG puts in front. */
uint32_t exif_orientation(struct bytes block);
#endif
