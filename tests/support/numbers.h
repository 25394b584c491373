/** Numbers to test with, and equality of bits. */
#ifndef COTERIE_TEST_NUMBERS_H
#define COTERIE_TEST_NUMBERS_H

#include <coterie/real.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** n numbers from N(0,1), the same wherever and whenever they are drawn; `draw` tells draws apart.
 */
void draw_normal(uint64_t draw, size_t n, cot_real *out);

/** Whether a [n] and b [n] hold the same bits. */
bool same_bits(const cot_real *a, const cot_real *b, size_t n);

/** a [n] and b [n] hold the same bits; names the first element that does not. */
void assert_same_bits(const cot_real *a, const cot_real *b, size_t n);

/** Lengths and offsets that kernels are tried at: more than four of the widest vectors, and more
 * than one. */
enum { MOST_LENGTH = 70, MOST_OFFSET = 17, POSITIONS = MOST_LENGTH + MOST_OFFSET };

/** An elementwise kernel: y [n] from x [n], and from what y holds already. */
typedef void elementwise(size_t n, const cot_real *x, cot_real *y);

/** Each element gets the bits that a call on it alone gives, at any offset of x and y (each its
 * own) and any length; nothing is written outside. x and y [POSITIONS] are what kernels get. */
void assert_same_at_any_position(elementwise *kernel, const cot_real *x, const cot_real *y);

#endif
