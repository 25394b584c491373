/** What a statistics file is made of: variables over named dimensions.
 *
 * Modules that measure offer their results as variables; whoever writes the file needs to know no
 * more of them. */
#ifndef COTERIE_VARIABLE_H
#define COTERIE_VARIABLE_H

#include <coterie/h5.h>

/** A dimension and its coordinates. */
typedef struct cot_dimension {
    const char *name; /**< "expert" */
    size_t size;
    cot_h5_type type;   /**< COT_H5_INT64 or COT_H5_FLOAT64 */
    const void *values; /**< [size]; NULL: 0, 1, 2, ... (INT64) */
    const char *meaning;
} cot_dimension;

/** One record of a variable. */
typedef struct cot_variable {
    const char *name;    /**< "combine_mass"; "timing/seconds" for one in the group /timing */
    const char *axes;    /**< "layer,expert": dimensions behind the record; "" for one number */
    const char *units;   /**< "1", "nat", "s" */
    const char *meaning; /**< one line */
    cot_h5_type type;    /**< COT_H5_INT64 or COT_H5_FLOAT64 */
    const void *data;    /**< row-major, the same on every rank */
} cot_variable;

/** A growing list; dimensions and variables keep pointing to what their modules own. */
enum { COT_CATALOG_DIMENSIONS = 16, COT_CATALOG_VARIABLES = 96 };
typedef struct cot_catalog {
    size_t dimension_count, variable_count;
    cot_dimension dimensions[COT_CATALOG_DIMENSIONS];
    cot_variable variables[COT_CATALOG_VARIABLES];
} cot_catalog;

/** Add one. A dimension that is there already, with the same size, is not added again. */
void cot_catalog_add_dimension(cot_catalog *catalog, const cot_dimension *dimension);
void cot_catalog_add(cot_catalog *catalog, const cot_variable *variable);

/** The usual ones: coordinates 0, 1, 2, ...; float64; and int64 of unit 1. */
void cot_catalog_add_axis(cot_catalog *catalog, const char *name, size_t size, const char *meaning);
void cot_catalog_add_reals(cot_catalog *catalog, const char *name, const char *axes,
                           const char *units, const char *meaning, const double *data);
void cot_catalog_add_wholes(cot_catalog *catalog, const char *name, const char *axes,
                            const char *meaning, const int64_t *data);

/** NULL when there is none of that name. */
const cot_dimension *cot_catalog_dimension(const cot_catalog *catalog, const char *name);
const cot_variable *cot_catalog_variable(const cot_catalog *catalog, const char *name);

#endif
