#include "base/box_muller.h"

#include "base/vector_clones.h"

#include <math.h>
#include <string.h>

/* The polynomials are those of fdlibm 5.3 (Sun Microsystems 1993: e_log.c, k_sin.c, k_cos.c), whose
 * errors are below 1 ulp. Here they have neither branches nor calls, so that loops vectorize, and
 * round alike at every vector width, which no library of vector functions promises. */

static inline uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* log(2^k (1 + f)) = k log 2 + log(1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for a normal x > 0. With
 * s = f / (2 + f), log(1 + f) = log((1 + s) / (1 - s)) = 2 s + s R(s^2) = f - f^2/2 + s (f^2/2 +
 * R). */
static inline double log_of(double x)
{
    const double log2_high = 6.93147180369123816490e-01; /* times k it is exact */
    const double log2_low = 1.90821492927058770002e-10;
    const uint64_t one = 0x3ff0000000000000u;
    const uint64_t root_half = 0x3fe6a09e00000000u;
    const uint64_t mantissa = 0x000fffffffffffffu;

    /* The exponent of x / root_half, and where x lies in the binade that root_half begins. */
    uint64_t shifted = bits_of(x) - root_half + one;
    double k = (double)((int32_t)(shifted >> 52) - 1023);
    double f = of_bits((shifted & mantissa) + root_half) - 1;

    double s = f / (2 + f);
    double z = s * s;
    double r =
        z * (6.666666666666735130e-01 +
             z * (3.999999999940941908e-01 +
                  z * (2.857142874366239149e-01 +
                       z * (2.222219843214978396e-01 +
                            z * (1.818357216161805012e-01 +
                                 z * (1.531383769920937332e-01 + z * 1.479819860511658591e-01))))));
    double half_square = 0.5 * f * f;
    return k * log2_high - ((half_square - (s * (half_square + r) + k * log2_low)) - f);
}

/* sin x, |x| <= pi/4 */
static inline double sine_of(double x)
{
    double z = x * x;
    double r = -1.66666666666666324348e-01 +
               z * (8.33333333332248946124e-03 +
                    z * (-1.98412698298579493134e-04 +
                         z * (2.75573137070700676789e-06 +
                              z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10))));
    return x + z * x * r;
}

/* cos x, |x| <= pi/4. What rounding takes from 1 - x^2/2 is given back. */
static inline double cosine_of(double x)
{
    double z = x * x;
    double r =
        z * (4.16666666666666019037e-02 +
             z * (-1.38888888888741095749e-03 +
                  z * (2.48015872894767294178e-05 +
                       z * (-2.75573143513906633035e-07 +
                            z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
    double half_square = 0.5 * z;
    double rest = 1 - half_square;
    return rest + ((1 - rest - half_square) + z * r);
}

/* The point at `turns` / 2^32 turns on the unit circle. Its quadrant is exact in integers: from the
 * nearest quarter turn it is at most 1/8 turn. A quarter turn maps (c, s) to (-s, c). */
static inline void point_on_circle(uint32_t turns, double *cosine, double *sine)
{
    const double radians = 6.283185307179586 * 0x1p-32; /* 2 pi / 2^32 */
    const uint32_t eighth = (uint32_t)1 << 29;
    uint32_t quadrant = (turns + eighth) >> 30;
    double rest = radians * (double)(int32_t)(turns - (quadrant << 30));
    uint64_t c = bits_of(cosine_of(rest));
    uint64_t s = bits_of(sine_of(rest));
    uint64_t swap = (c ^ s) & -(uint64_t)(quadrant & 1);
    uint64_t c_sign = (uint64_t)((quadrant + 1) >> 1) << 63; /* of quadrants 1 and 2 */
    uint64_t s_sign = (uint64_t)(quadrant >> 1) << 63;       /* of quadrants 2 and 3 */
    *cosine = of_bits(c ^ swap ^ c_sign);
    *sine = of_bits(s ^ swap ^ s_sign);
}

COT_VECTOR_CLONES
void cot_box_muller(size_t pairs, const uint32_t *radii, const uint32_t *angles, cot_real *normals)
{
    for (size_t i = 0; i < pairs; i++) {
        double radius = sqrt(-2 * log_of(((double)radii[i] + 1) * 0x1p-32));
        double cosine;
        double sine;
        point_on_circle(angles[i], &cosine, &sine);
        normals[2 * i] = (cot_real)(radius * cosine);
        normals[2 * i + 1] = (cot_real)(radius * sine);
    }
}
