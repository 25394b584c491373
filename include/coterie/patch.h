/** Images to tokens: non-overlapping patches. Pure functions, not collective. */
#ifndef COTERIE_PATCH_H
#define COTERIE_PATCH_H

#include <coterie/real.h>

#include <stddef.h>

/** How an image [C,H,W] is cut into patches of [height,width]; these divide H and W. */
typedef struct cot_patches {
    size_t channels, image_height, image_width;
    size_t height, width;
} cot_patches;

/** Tokens of one image: T = (H / height) (W / width). */
size_t cot_patches_tokens(const cot_patches *patches);

/** Numbers of one token: C height width. */
size_t cot_patches_width(const cot_patches *patches);

/** tokens [T, C height width] of one image [C,H,W]: patches in row-major order of their grid, the
 * pixels of a patch in the order channel, row, column. */
void cot_patches_cut(const cot_patches *patches, const cot_real *image, cot_real *tokens);

#endif
