#include <coterie/patch.h>

#include <string.h>

size_t cot_patches_tokens(const cot_patches *patches)
{
    return (patches->image_height / patches->height) * (patches->image_width / patches->width);
}

size_t cot_patches_width(const cot_patches *patches)
{
    return patches->channels * patches->height * patches->width;
}

/* The patch whose upper left pixel is (top, left). */
static cot_real *cut_one(const cot_patches *patches, const cot_real *image, size_t top, size_t left,
                         cot_real *token)
{
    for (size_t c = 0; c < patches->channels; c++)
        for (size_t row = top; row < top + patches->height; row++) {
            const cot_real *pixels =
                image + (c * patches->image_height + row) * patches->image_width + left;
            memcpy(token, pixels, patches->width * sizeof *token);
            token += patches->width;
        }
    return token;
}

void cot_patches_cut(const cot_patches *patches, const cot_real *image, cot_real *tokens)
{
    for (size_t top = 0; top < patches->image_height; top += patches->height)
        for (size_t left = 0; left < patches->image_width; left += patches->width)
            tokens = cut_one(patches, image, top, left, tokens);
}
