#include <coterie/status.h>
#include <coterie/variable.h>

#include <string.h>

/* Two modules may bring the same dimension; they must mean the same by it. */
static void assert_same(const cot_dimension *a, const cot_dimension *b)
{
    COT_ASSERT(a->size == b->size && a->type == b->type);
    COT_ASSERT((a->values == NULL) == (b->values == NULL));
    if (a->values != NULL)
        COT_ASSERT(memcmp(a->values, b->values, a->size * cot_h5_type_size(a->type)) == 0);
}

void cot_catalog_add_dimension(cot_catalog *catalog, const cot_dimension *dimension)
{
    const cot_dimension *known = cot_catalog_dimension(catalog, dimension->name);
    if (known != NULL) {
        assert_same(known, dimension);
        return;
    }
    COT_ASSERT(catalog->dimension_count < COT_CATALOG_DIMENSIONS);
    catalog->dimensions[catalog->dimension_count++] = *dimension;
}

void cot_catalog_add(cot_catalog *catalog, const cot_variable *variable)
{
    COT_ASSERT(cot_catalog_variable(catalog, variable->name) == NULL);
    COT_ASSERT(catalog->variable_count < COT_CATALOG_VARIABLES);
    catalog->variables[catalog->variable_count++] = *variable;
}

void cot_catalog_add_axis(cot_catalog *catalog, const char *name, size_t size, const char *meaning)
{
    cot_catalog_add_dimension(catalog, &(cot_dimension){name, size, COT_H5_INT64, NULL, meaning});
}

void cot_catalog_add_reals(cot_catalog *catalog, const char *name, const char *axes,
                           const char *units, const char *meaning, const double *data)
{
    cot_catalog_add(catalog, &(cot_variable){name, axes, units, meaning, COT_H5_FLOAT64, data});
}

void cot_catalog_add_wholes(cot_catalog *catalog, const char *name, const char *axes,
                            const char *meaning, const int64_t *data)
{
    cot_catalog_add(catalog, &(cot_variable){name, axes, "1", meaning, COT_H5_INT64, data});
}

const cot_dimension *cot_catalog_dimension(const cot_catalog *catalog, const char *name)
{
    for (size_t i = 0; i < catalog->dimension_count; i++)
        if (strcmp(catalog->dimensions[i].name, name) == 0) return &catalog->dimensions[i];
    return NULL;
}

const cot_variable *cot_catalog_variable(const cot_catalog *catalog, const char *name)
{
    for (size_t i = 0; i < catalog->variable_count; i++)
        if (strcmp(catalog->variables[i].name, name) == 0) return &catalog->variables[i];
    return NULL;
}
