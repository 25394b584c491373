/* Groups, names and attributes. */
#include "io/h5_internal.h"

#include <coterie/memory.h>

#include <stdlib.h>
#include <string.h>

/* HDF5 puts attributes into a heap when there are many, and there a value above 4 KiB has no
 * checksum; in the object header it has. 64 KiB is the most that a header takes. */
enum { MAX_COMPACT_ATTRIBUTES = 1000 };
static const size_t MAX_ATTRIBUTE_BYTES = (size_t)1 << 26;

void cot_h5_keep_attributes_compact(hid_t creation)
{
    herr_t done =
        H5Pset_attr_phase_change(creation, MAX_COMPACT_ATTRIBUTES, MAX_COMPACT_ATTRIBUTES);
    COT_ASSERT(done >= 0);
}

/* ---- names ---- */

typedef struct name_list {
    cot_h5_names names;
    size_t capacity;
} name_list;

static void append_name(name_list *list, const char *name)
{
    if (list->names.count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        char **names = cot_alloc(capacity, sizeof *names);
        if (list->capacity > 0) memcpy(names, list->names.names, list->capacity * sizeof *names);
        cot_free(list->names.names);
        list->names.names = names;
        list->capacity = capacity;
    }
    list->names.names[list->names.count++] = cot_strdup(name);
}

void cot_h5_names_free(cot_h5_names *names)
{
    for (size_t i = 0; i < names->count; i++) cot_free(names->names[i]);
    cot_free(names->names);
    *names = (cot_h5_names){0};
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static cot_status finish_names(name_list *list, bool complete, const cot_h5_file *file,
                               const char *object, cot_h5_names *names_out)
{
    if (!complete) {
        cot_h5_names_free(&list->names);
        return cot_h5_failed(file, object, "listed");
    }
    if (list->names.count > 0)
        qsort(list->names.names, list->names.count, sizeof *list->names.names, compare_names);
    *names_out = list->names;
    return COT_OK;
}

static herr_t take_member(hid_t group, const char *name, const H5L_info_t *info, void *list)
{
    (void)group, (void)info;
    append_name(list, name);
    return 0;
}

cot_status cot_h5_members(const cot_h5_file *file, const char *group, cot_h5_names *names_out)
{
    name_list list = {0};
    SCOPED_ID id = H5Gopen2(file->id, group, H5P_DEFAULT);
    bool complete =
        id >= 0 && H5Literate(id, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, take_member, &list) >= 0;
    return finish_names(&list, complete, file, group, names_out);
}

static herr_t take_attribute(hid_t object, const char *name, const H5A_info_t *info, void *list)
{
    (void)object, (void)info;
    append_name(list, name);
    return 0;
}

cot_status cot_h5_attributes(const cot_h5_file *file, const char *object, cot_h5_names *names_out)
{
    name_list list = {0};
    SCOPED_ID id = H5Oopen(file->id, object, H5P_DEFAULT);
    bool complete =
        id >= 0 && H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, take_attribute, &list) >= 0;
    return finish_names(&list, complete, file, object, names_out);
}

/* ---- groups ---- */

cot_status cot_h5_create_group(cot_h5_file *file, const char *group)
{
    SCOPED_ID creation = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    cot_h5_keep_attributes_compact(creation);
    SCOPED_ID id = H5Gcreate2(file->id, group, H5P_DEFAULT, creation, H5P_DEFAULT);
    return id >= 0 ? COT_OK : cot_h5_failed(file, group, "created");
}

/* Every link on the way must be a hard one: a soft or external link leads elsewhere, perhaps out of
 * the file. */
static bool is_own_object(const cot_h5_file *file, const char *object)
{
    H5L_info_t info;
    if (strcmp(object, "/") == 0) return true;
    return H5Lget_info(file->id, object, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
}

cot_h5_kind cot_h5_kind_of(const cot_h5_file *file, const char *object)
{
    bool there = strcmp(object, "/") == 0 || H5Lexists(file->id, object, H5P_DEFAULT) > 0;
    if (!there) return COT_H5_MISSING;
    SCOPED_ID id =
        is_own_object(file, object) ? H5Oopen(file->id, object, H5P_DEFAULT) : H5I_INVALID_HID;
    H5I_type_t type = id >= 0 ? H5Iget_type(id) : H5I_BADID;
    if (type == H5I_GROUP) return COT_H5_GROUP;
    return type == H5I_DATASET ? COT_H5_DATASET : COT_H5_UNKNOWN;
}

/* ---- writing attributes ---- */

static cot_status set_attribute(cot_h5_file *file, const char *object, const char *name, hid_t type,
                                const void *value)
{
    SCOPED_ID id = H5Oopen(file->id, object, H5P_DEFAULT);
    SCOPED_ID space = H5Screate(H5S_SCALAR);
    if (id >= 0 && H5Aexists(id, name) > 0 && H5Adelete(id, name) < 0)
        return cot_h5_failed(file, name, "replaced");
    SCOPED_ID attribute =
        id < 0 ? H5I_INVALID_HID : H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0)
        return cot_h5_failed(file, name, "written");
    return COT_OK;
}

cot_status cot_h5_set_text(cot_h5_file *file, const char *object, const char *name,
                           const char *value)
{
    SCOPED_ID type = H5Tcopy(H5T_C_S1);
    size_t size = strlen(value);
    H5Tset_size(type,
                size > 0 ? size : 1); /* no type has size 0: the empty text is one zero byte */
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return set_attribute(file, object, name, type, value);
}

cot_status cot_h5_set_uint(cot_h5_file *file, const char *object, const char *name, uint64_t value)
{
    return set_attribute(file, object, name, cot_h5_file_type(COT_H5_UINT64), &value);
}

cot_status cot_h5_set_double(cot_h5_file *file, const char *object, const char *name, double value)
{
    return set_attribute(file, object, name, cot_h5_file_type(COT_H5_FLOAT64), &value);
}

/* ---- reading attributes ---- */

static cot_status read_text(const cot_h5_file *file, const char *name, hid_t attribute, hid_t type,
                            cot_h5_value *value)
{
    size_t size = H5Tget_size(type);
    char *text = cot_alloc(size + 1, 1);
    SCOPED_ID memory = H5Tcopy(type);
    if (H5Aread(attribute, memory, text) < 0) {
        cot_free(text);
        return cot_h5_failed(file, name, "read");
    }
    *value = (cot_h5_value){.type = COT_H5_TEXT, .count = strlen(text), .data = text};
    return COT_OK;
}

static cot_status read_numbers(const cot_h5_file *file, const char *name, hid_t attribute,
                               cot_h5_value *value)
{
    value->data = cot_alloc(value->count, cot_h5_type_size(value->type));
    if (H5Aread(attribute, cot_h5_memory_type(value->type), value->data) >= 0) return COT_OK;
    cot_h5_value_free(value);
    return cot_h5_failed(file, name, "read");
}

cot_status cot_h5_get_value(const cot_h5_file *file, const char *object, const char *name,
                            cot_h5_value *value_out)
{
    SCOPED_ID attribute = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0)
        return cot_fail(COT_E_DATA, "%s: %s has no readable attribute '%s'", file->path, object,
                        name);
    SCOPED_ID type = H5Aget_type(attribute);
    SCOPED_ID space = H5Aget_space(attribute);
    hssize_t points = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    if (type < 0 || points < 0) return cot_h5_failed(file, name, "read");
    cot_h5_value value = {.type = cot_h5_type_of(type), .count = (size_t)points};
    size_t size = H5Tget_size(type);
    if (size == 0 || value.count > MAX_ATTRIBUTE_BYTES / size)
        return cot_fail(COT_E_DATA, "%s: attribute '%s' of %s is too large", file->path, name,
                        object);
    if (value.type == COT_H5_TEXT && points == 1)
        COT_TRY(read_text(file, name, attribute, type, &value));
    else if (value.type == COT_H5_TEXT)
        value.type = COT_H5_OTHER; /* a list of texts is none of ours */
    else if (value.type != COT_H5_OTHER)
        COT_TRY(read_numbers(file, name, attribute, &value));
    *value_out = value;
    return COT_OK;
}

void cot_h5_value_free(cot_h5_value *value)
{
    cot_free(value->data);
    *value = (cot_h5_value){0};
}

/* Read an attribute that must be one element of `type`. */
static cot_status get_one(const cot_h5_file *file, const char *object, const char *name,
                          cot_h5_type type, cot_h5_value *value_out)
{
    COT_TRY(cot_h5_get_value(file, object, name, value_out));
    if (value_out->type == type && (type == COT_H5_TEXT || value_out->count == 1)) return COT_OK;
    cot_h5_value_free(value_out);
    cot_fail(COT_E_DATA, "%s: attribute '%s' of %s is not one %s", file->path, name, object,
             cot_h5_type_name(type));
    return COT_E_DATA;
}

cot_status cot_h5_get_text(const cot_h5_file *file, const char *object, const char *name,
                           char **value_out)
{
    cot_h5_value value = {0};
    COT_TRY(get_one(file, object, name, COT_H5_TEXT, &value));
    *value_out = value.data;
    return COT_OK;
}

cot_status cot_h5_get_uint(const cot_h5_file *file, const char *object, const char *name,
                           uint64_t *value_out)
{
    cot_h5_value value = {0};
    COT_TRY(get_one(file, object, name, COT_H5_UINT64, &value));
    memcpy(value_out, value.data, sizeof *value_out);
    cot_h5_value_free(&value);
    return COT_OK;
}

cot_status cot_h5_get_double(const cot_h5_file *file, const char *object, const char *name,
                             double *value_out)
{
    cot_h5_value value = {0};
    COT_TRY(get_one(file, object, name, COT_H5_FLOAT64, &value));
    memcpy(value_out, value.data, sizeof *value_out);
    cot_h5_value_free(&value);
    return COT_OK;
}
