#include "data/glyph.h"

#include <coterie/status.h>

#include <math.h>

/* How far the writing varies. Chosen so that a linear classifier of the pixels fails on about one
 * glyph in eight while a small network learns nearly all (tests/reference/glyphs_difficulty.sh).
 * Lengths are in pixels, except as said. */
static const float half_height = 9.5f;    /* of a digit of size 1 */
static const float max_half_turn = 0.14f; /* tan(angle / 2): 16 degrees */
static const float max_shear = 0.25f;     /* sideways shift over height */
static const float size_range[2] = {0.8f, 1.1f};
static const float aspect_range[2] = {0.8f, 1.2f}; /* width over height, against the tables */
static const float max_shift = 2.5f;
static const float max_wobble = 0.07f;           /* of every knot, over half the height */
static const float pen_range[2] = {0.7f, 1.6f};  /* half the thickness of a stroke */
static const float blur_range[2] = {0.8f, 2.2f}; /* width of its soft edge */
static const float ink_range[2] = {0.7f, 1.0f};  /* grey of its middle */
static const float max_noise = 0.12f;            /* added to every pixel's grey, either way */

enum {
    CURVE_PIECES = 4,  /* straight pieces between two points of a curve */
    NOISE_BLOCK = 1024 /* where in the stream the noise begins, far past all else */
};

/* The stream's numbers, one after the other. */
typedef struct glyph_dice {
    const cot_stream *stream;
    uint32_t words[4];
    uint32_t next;
} glyph_dice;

static uint32_t next_word(glyph_dice *dice)
{
    if (dice->next % 4 == 0) cot_rng_words(dice->stream, dice->next / 4, dice->words);
    return dice->words[dice->next++ % 4];
}

static size_t choose(glyph_dice *dice, size_t count)
{
    return cot_rng_below(next_word(dice), count);
}

static float between(glyph_dice *dice, float low, float high)
{
    /* 24 bits are exact in float. */
    return low + (high - low) * ((float)(next_word(dice) >> 8) * 0x1p-24f);
}

/* A place on the paper, in pixels: x to the right, y down. */
typedef struct glyph_point {
    float x, y;
} glyph_point;

/* The pen and the paper of one glyph. */
typedef struct glyph_pen {
    float xx, xy, yx, yy, x, y; /* the affine map from a digit's box to pixels */
    float radius, blur, ink, noise;
} glyph_pen;

static glyph_pen draw_pen(glyph_dice *dice)
{
    float half_turn = between(dice, -max_half_turn, max_half_turn);
    float shear = between(dice, -max_shear, max_shear);
    float height = half_height * between(dice, size_range[0], size_range[1]);
    float width = height * between(dice, aspect_range[0], aspect_range[1]);
    /* Rotation by the half-angle formulas: no trigonometric function, whose last bit may differ by
     * machine. */
    float square = half_turn * half_turn;
    float cosine = (1.0f - square) / (1.0f + square);
    float sine = 2.0f * half_turn / (1.0f + square);
    glyph_pen pen = {.xx = cosine * width, .yx = sine * width};
    pen.xy = (cosine * shear - sine) * height;
    pen.yy = (sine * shear + cosine) * height;
    const float middle = (COT_GLYPH_SIDE - 1) * 0.5f;
    pen.x = middle + between(dice, -max_shift, max_shift);
    pen.y = middle + between(dice, -max_shift, max_shift);
    pen.radius = between(dice, pen_range[0], pen_range[1]);
    pen.blur = between(dice, blur_range[0], blur_range[1]);
    pen.ink = between(dice, ink_range[0], ink_range[1]);
    pen.noise = between(dice, 0.0f, max_noise);
    return pen;
}

/* A knot of a stroke, wobbled, on the paper. */
static glyph_point place(cot_glyph_knot knot, const glyph_pen *pen, glyph_dice *dice)
{
    const float hundred = 100.0f;
    float x = (float)knot.x / hundred + between(dice, -max_wobble, max_wobble);
    float y = (float)knot.y / hundred + between(dice, -max_wobble, max_wobble);
    return (glyph_point){pen->xx * x + pen->xy * y + pen->x, pen->yx * x + pen->yy * y + pen->y};
}

/* The pixel at a position, or the nearest on the paper. */
static int clamp_pixel(float position)
{
    if (position < 0.0f) return 0;
    if (position > (float)(COT_GLYPH_SIDE - 1)) return COT_GLYPH_SIDE - 1;
    return (int)position;
}

/* distance2 [28,28]: squared distance of every pixel to the nearest line so far, lowered by the
 * line from a to b. Pixels further than `reach` get no ink and are not looked at. */
static void trace_line(float *distance2, glyph_point a, glyph_point b, float reach)
{
    float dx = b.x - a.x;
    float dy = b.y - a.y;
    float length2 = dx * dx + dy * dy;
    float inverse = length2 > 0.0f ? 1.0f / length2 : 0.0f;
    int left = clamp_pixel((dx < 0.0f ? b.x : a.x) - reach);
    int right = clamp_pixel((dx < 0.0f ? a.x : b.x) + reach);
    int top = clamp_pixel((dy < 0.0f ? b.y : a.y) - reach);
    int bottom = clamp_pixel((dy < 0.0f ? a.y : b.y) + reach);
    for (int row = top; row <= bottom; row++)
        for (int column = left; column <= right; column++) {
            float px = (float)column - a.x;
            float py = (float)row - a.y;
            float along = (px * dx + py * dy) * inverse;
            along = along < 0.0f ? 0.0f : along > 1.0f ? 1.0f : along;
            float ox = px - along * dx;
            float oy = py - along * dy;
            float square = ox * ox + oy * oy;
            float *nearest = &distance2[row * COT_GLYPH_SIDE + column];
            *nearest = square < *nearest ? square : *nearest;
        }
}

/* The Catmull-Rom spline at `t` between b and c, with their neighbours a and d. */
static float spline(float a, float b, float c, float d, float t)
{
    float linear = c - a;
    float square = 2.0f * a - 5.0f * b + 4.0f * c - d;
    float cube = 3.0f * (b - c) + d - a;
    return b + 0.5f * t * (linear + t * (square + t * cube));
}

static void trace_curve(float *distance2, const glyph_point neighbours[4], float reach)
{
    const glyph_point *p = neighbours;
    glyph_point from = p[1];
    for (int piece = 1; piece <= CURVE_PIECES; piece++) {
        float t = (float)piece / (float)CURVE_PIECES;
        glyph_point to = {spline(p[0].x, p[1].x, p[2].x, p[3].x, t),
                          spline(p[0].y, p[1].y, p[2].y, p[3].y, t)};
        trace_line(distance2, from, to, reach);
        from = to;
    }
}

/* Point i of a stroke, which goes round (a ring) or stops at its ends. */
static glyph_point point_at(const cot_glyph_stroke *stroke, const glyph_point *points, size_t i,
                            int offset)
{
    size_t count = stroke->count;
    if (stroke->line == COT_RING) return points[(i + count + (size_t)offset) % count];
    if (offset < 0 && i == 0) return points[0];
    size_t at = offset < 0 ? i - 1 : i + (size_t)offset;
    return points[at < count ? at : count - 1];
}

static void trace_stroke(float *distance2, const cot_glyph_stroke *stroke, const glyph_pen *pen,
                         glyph_dice *dice)
{
    float reach = pen->radius + 0.5f * pen->blur;
    glyph_point points[COT_GLYPH_MAX_POINTS];
    for (size_t i = 0; i < stroke->count; i++) points[i] = place(stroke->points[i], pen, dice);
    size_t lines = stroke->line == COT_RING ? stroke->count : stroke->count - 1;
    for (size_t i = 0; i < lines; i++) {
        glyph_point around[4];
        for (int offset = -1; offset <= 2; offset++)
            around[offset + 1] = point_at(stroke, points, i, offset);
        if (stroke->line == COT_LINE)
            trace_line(distance2, around[1], around[2], reach);
        else
            trace_curve(distance2, around, reach);
    }
}

/* Grey in 0 .. 1 from the distance to the middle of the stroke: full inside, none beyond its soft
 * edge. */
static float ink_at(float distance2, const glyph_pen *pen)
{
    float depth = (pen->radius + 0.5f * pen->blur - sqrtf(distance2)) / pen->blur;
    return pen->ink * (depth < 0.0f ? 0.0f : depth > 1.0f ? 1.0f : depth);
}

/* One byte of the stream a pixel: uniform in -noise .. noise. */
static void develop(const float *distance2, const glyph_pen *pen, const cot_stream *stream,
                    uint8_t *pixels)
{
    enum { WORD_BYTES = 4, BLOCK_BYTES = 16 };
    uint32_t words[4];
    for (uint32_t i = 0; i < COT_GLYPH_PIXELS; i++) {
        if (i % BLOCK_BYTES == 0) cot_rng_words(stream, NOISE_BLOCK + i / BLOCK_BYTES, words);
        uint32_t byte = words[i / WORD_BYTES % 4] >> (8 * (i % WORD_BYTES)) & 255u;
        float grey = ink_at(distance2[i], pen) + pen->noise * ((float)byte - 127.5f) / 127.5f;
        grey = grey < 0.0f ? 0.0f : grey > 1.0f ? 1.0f : grey;
        pixels[i] = (uint8_t)(grey * 255.0f + 0.5f);
    }
}

int cot_glyph_draw(const cot_stream *stream, uint8_t pixels[COT_GLYPH_PIXELS])
{
    const float far_away = 1e6f;
    float distance2[COT_GLYPH_PIXELS];
    for (size_t i = 0; i < COT_GLYPH_PIXELS; i++) distance2[i] = far_away;
    glyph_dice dice = {.stream = stream};
    size_t label = choose(&dice, COT_GLYPH_DIGITS);
    const cot_glyph_digit *digit = &cot_glyph_digits[label];
    const cot_glyph_form *form = &digit->forms[choose(&dice, digit->count)];
    glyph_pen pen = draw_pen(&dice);
    for (size_t i = 0; i < form->count; i++)
        trace_stroke(distance2, &form->strokes[i], &pen, &dice);
    develop(distance2, &pen, stream, pixels);
    return (int)label;
}
