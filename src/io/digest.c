#include <coterie/digest.h>
#include <coterie/memory.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the digest hashes numbers as they lie in memory, which must be little-endian as in the file"
#endif

/* Deeper than any file of ours; a group that contains itself ends here. */
enum { MAX_DEPTH = 16 };

static void add_bytes(EVP_MD_CTX *hash, const void *data, size_t size)
{
    int done = EVP_DigestUpdate(hash, data, size);
    COT_ASSERT(done == 1);
}

/* With its terminating zero, so that "ab","c" is not "a","bc". */
static void add_text(EVP_MD_CTX *hash, const char *text)
{
    add_bytes(hash, text, strlen(text) + 1);
}

static void add_count(EVP_MD_CTX *hash, size_t count)
{
    uint64_t value = count;
    add_bytes(hash, &value, sizeof value);
}

static bool is_left_out(const char *attribute)
{
    static const char *const names[] = {"ranks",   "host",  "started",
                                        "written", "build", "slurm_job_id"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], attribute) == 0) return true;
    return false;
}

static cot_status add_attribute(EVP_MD_CTX *hash, const cot_h5_file *file, const char *object,
                                const char *name)
{
    cot_h5_value value = {0};
    COT_TRY(cot_h5_get_value(file, object, name, &value));
    if (value.type != COT_H5_OTHER) {
        add_text(hash, "attribute");
        add_text(hash, name);
        add_text(hash, cot_h5_type_name(value.type));
        add_count(hash, value.count);
        add_bytes(hash, value.data, value.count * cot_h5_type_size(value.type));
    }
    cot_h5_value_free(&value);
    return COT_OK;
}

static cot_status add_attributes(EVP_MD_CTX *hash, const cot_h5_file *file, const char *object)
{
    cot_h5_names names = {0};
    COT_TRY(cot_h5_attributes(file, object, &names));
    cot_status status = COT_OK;
    for (size_t i = 0; i < names.count && status == COT_OK; i++)
        if (!is_left_out(names.names[i]))
            status = add_attribute(hash, file, object, names.names[i]);
    cot_h5_names_free(&names);
    return status;
}

typedef struct data_hash {
    EVP_MD_CTX *hash;
    size_t element_size;
} data_hash;

static void add_data(void *context, const void *data, size_t elements)
{
    const data_hash *target = context;
    add_bytes(target->hash, data, elements * target->element_size);
}

static cot_status add_dataset(EVP_MD_CTX *hash, const cot_h5_file *file, const char *dataset)
{
    cot_h5_shape shape = {0};
    COT_TRY(cot_h5_shape_of(file, dataset, &shape));
    add_text(hash, "dataset");
    add_text(hash, dataset);
    add_text(hash, cot_h5_type_name(shape.type));
    add_count(hash, shape.axis_count);
    for (size_t i = 0; i < shape.axis_count; i++) add_count(hash, shape.dims[i]);
    data_hash target = {hash, cot_h5_type_size(shape.type)};
    COT_TRY(cot_h5_visit_rows(file, dataset, &shape, 0, shape.dims[0], add_data, &target));
    return add_attributes(hash, file, dataset);
}

static cot_status add_object(EVP_MD_CTX *hash, const cot_h5_file *file, const char *object,
                             int depth);

static cot_status add_group(EVP_MD_CTX *hash, const cot_h5_file *file, const char *group, int depth)
{
    cot_h5_names names = {0};
    if (depth > MAX_DEPTH)
        return cot_fail(COT_E_DATA, "%s: groups are nested too deep", cot_h5_path(file));
    add_text(hash, "group");
    add_text(hash, group);
    COT_TRY(add_attributes(hash, file, group));
    COT_TRY(cot_h5_members(file, group, &names));
    cot_status status = COT_OK;
    for (size_t i = 0; i < names.count && status == COT_OK; i++) {
        char *member = cot_strprintf("%s/%s", strcmp(group, "/") == 0 ? "" : group, names.names[i]);
        if (strcmp(member, "/timing") != 0) status = add_object(hash, file, member, depth + 1);
        cot_free(member);
    }
    cot_h5_names_free(&names);
    return status;
}

static cot_status add_object(EVP_MD_CTX *hash, const cot_h5_file *file, const char *object,
                             int depth)
{
    switch (cot_h5_kind_of(file, object)) {
    case COT_H5_GROUP:
        return add_group(hash, file, object, depth);
    case COT_H5_DATASET:
        return add_dataset(hash, file, object);
    default:
        return cot_fail(COT_E_DATA, "%s: %s is damaged or neither a group nor a data set",
                        cot_h5_path(file), object);
    }
}

cot_status cot_digest(const cot_h5_file *file, char hex_out[COT_DIGEST_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    COT_ASSERT(hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1);
    cot_status status = add_object(hash, file, "/", 0);
    int done = EVP_DigestFinal_ex(hash, digest, &size);
    COT_ASSERT(done == 1 && 2 * size + 1 == COT_DIGEST_SIZE);
    EVP_MD_CTX_free(hash);
    if (status != COT_OK) return status;
    for (unsigned i = 0; i < size; i++) snprintf(hex_out + (size_t)2 * i, 3, "%02x", digest[i]);
    return COT_OK;
}
