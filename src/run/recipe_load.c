/* A recipe file on all ranks: rank 0 reads it, every rank parses the same text. */
#include <coterie/memory.h>
#include <coterie/recipe.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Every key together takes 2 KiB; and libyaml takes quadratic time for text full of anchors, which
 * at this size is still under a second. */
enum { LARGEST_FILE = 1 << 16 };

static size_t line_at(const char *text, const char *place)
{
    size_t line = 1;
    for (; text < place; text++) line += *text == '\n';
    return line;
}

static cot_status read_stream(FILE *file, const char *path, char **text_out)
{
    char *text = cot_alloc((size_t)LARGEST_FILE + 2, 1);
    size_t size = fread(text, 1, (size_t)LARGEST_FILE + 1, file);
    cot_status status = COT_OK;
    const char *zero = memchr(text, '\0', size);
    if (ferror(file))
        status = cot_fail(COT_E_IO, "%s: reading failed: %s", path, strerror(errno));
    else if (size > LARGEST_FILE)
        status = cot_fail(COT_E_DATA, "%s: over 64 KiB; a recipe is a short YAML file", path);
    else if (zero != NULL)
        status = cot_fail(COT_E_CONFIG, "%s:%zu: holds a zero byte; a recipe is UTF-8 text", path,
                          line_at(text, zero));
    if (status == COT_OK)
        *text_out = text;
    else
        cot_free(text);
    return status;
}

static cot_status read_file(const char *path, char **text_out)
{
    struct stat about;
    if (stat(path, &about) != 0)
        return cot_fail(COT_E_NOINPUT, "%s: cannot read the recipe: %s", path, strerror(errno));
    if (S_ISDIR(about.st_mode))
        return cot_fail(COT_E_NOINPUT, "%s: is a folder; name a recipe file in it", path);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return cot_fail(COT_E_NOINPUT, "%s: cannot read the recipe: %s", path, strerror(errno));
    cot_status status = read_stream(file, path, text_out);
    fclose(file);
    return status;
}

cot_status cot_recipe_load(const cot_comm *world, const char *path, size_t override_count,
                           const cot_override *overrides, cot_recipe **recipe_out)
{
    char *mine = NULL;
    COT_TRY(cot_comm_agree(world, world->rank == 0 ? read_file(path, &mine) : COT_OK));
    char *text = cot_comm_broadcast_text(world, mine);
    cot_free(mine);
    cot_recipe *recipe = NULL;
    cot_status status = cot_recipe_parse(text, path, override_count, overrides, &recipe);
    cot_free(text);
    status = cot_comm_agree(world, status);
    if (status != COT_OK)
        cot_recipe_destroy(&recipe);
    else
        *recipe_out = recipe;
    return status;
}
