/* Drawing one glyph: a digit's strokes, changed at random, on 28 x 28 grey pixels.
 *
 * Only additions, multiplications, divisions and square roots of floats are used, which IEEE 754
 * rounds exactly: every machine and both precisions of the program draw the same bytes. */
#ifndef COTERIE_DATA_GLYPH_H
#define COTERIE_DATA_GLYPH_H

#include <coterie/rng.h>

#include <stdbool.h>

enum {
    COT_GLYPH_SIDE = 28,
    COT_GLYPH_PIXELS = COT_GLYPH_SIDE * COT_GLYPH_SIDE,
    COT_GLYPH_DIGITS = 10,
    COT_GLYPH_MAX_POINTS = 12,
    COT_GLYPH_MAX_STROKES = 2,
    COT_GLYPH_MAX_FORMS = 3
};

/** A point of a stroke, in hundredths of half a digit's height: x to the right, y down. */
typedef struct cot_glyph_knot {
    int8_t x, y;
} cot_glyph_knot;

typedef enum cot_glyph_line {
    COT_LINE,  /**< from point to point */
    COT_CURVE, /**< a smooth curve through the points */
    COT_RING   /**< a smooth closed curve through the points */
} cot_glyph_line;

/** One movement of the pen. */
typedef struct cot_glyph_stroke {
    cot_glyph_line line;
    size_t count;
    cot_glyph_knot points[COT_GLYPH_MAX_POINTS];
} cot_glyph_stroke;

/** One way to write a digit. */
typedef struct cot_glyph_form {
    size_t count;
    cot_glyph_stroke strokes[COT_GLYPH_MAX_STROKES];
} cot_glyph_form;

/** All the ways to write a digit. */
typedef struct cot_glyph_digit {
    size_t count;
    cot_glyph_form forms[COT_GLYPH_MAX_FORMS];
} cot_glyph_digit;

extern const cot_glyph_digit cot_glyph_digits[COT_GLYPH_DIGITS];

/** Draw the stream's glyph into pixels [28,28] and return which digit it is. */
int cot_glyph_draw(const cot_stream *stream, uint8_t pixels[COT_GLYPH_PIXELS]);

#endif
