/* SPDX-License-Identifier: Apache-2.0
 * spec.c - reads model.yaml, event by event. A file has one shape: a mapping of keys, two of them
 * mappings themselves. Whatever else YAML can express (anchors, tags, deep nesting, more documents)
 * is refused where it appears, so nothing a file contains makes work beyond its own size. */
#include "model/spec.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define SPEC_SIZE_MAX (64u << 10)
#define CHANNELS      3

struct reader {
    yaml_parser_t parser;
    const char *file;
    struct error *err;
    struct model_spec *spec;
    size_t lines[MODEL_KEY_COUNT]; /* where a key was given; 0: not given */
};

static const char *text_of(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static enum rc refuse_at(const struct reader *reader, const yaml_mark_t *mark, const char *text)
{
    return error_set(reader->err, RC_INVALID, "%s:%zu:%zu: %s", reader->file, mark->line + 1,
                     mark->column + 1, text);
}

/* The next event, without anchors and tags. The caller deletes it if RC_OK. */
static enum rc next(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) == 0) {
        const char *problem = reader->parser.problem;
        return refuse_at(reader, &reader->parser.problem_mark,
                         problem != NULL ? problem : "this is not YAML");
    }
    bool plain = true;
    if (event->type == YAML_SCALAR_EVENT)
        plain = event->data.scalar.anchor == NULL && event->data.scalar.tag == NULL;
    else if (event->type == YAML_MAPPING_START_EVENT)
        plain = event->data.mapping_start.anchor == NULL && event->data.mapping_start.tag == NULL;
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        plain = event->data.sequence_start.anchor == NULL && event->data.sequence_start.tag == NULL;
    else if (event->type == YAML_ALIAS_EVENT)
        plain = false;
    if (plain)
        return RC_OK;
    enum rc rc = refuse_at(reader, &event->start_mark, "anchors, aliases and tags are not allowed");
    yaml_event_delete(event);
    return rc;
}

static enum rc expect(struct reader *reader, yaml_event_type_t type, const char *what)
{
    yaml_event_t event;
    enum rc rc = next(reader, &event);
    if (rc != RC_OK)
        return rc;
    if (event.type != type)
        rc = refuse_at(reader, &event.start_mark, what);
    yaml_event_delete(&event);
    return rc;
}

static enum rc refuse_value(const struct reader *reader, const yaml_event_t *event,
                            const struct key *key, const char *must)
{
    return error_set(reader->err, RC_INVALID, "%s:%zu:%zu: %s%s%s must be %s", reader->file,
                     event->start_mark.line + 1, event->start_mark.column + 1, key->section,
                     key->section[0] != '\0' ? "." : "", key->name, must);
}

static bool parse_real(const char *text, const struct key *key, double *ret_value)
{
    char *end = NULL;
    if (text[0] == '\0' || strspn(text, "+-.eE0123456789") != strlen(text))
        return false;
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value) || value < key->least || value > key->most)
        return false;
    *ret_value = value;
    return true;
}

static enum rc read_number(const struct reader *reader, const yaml_event_t *event,
                           const struct key *key, double *ret_value)
{
    double value = 0;
    char must[96];
    bool whole = key->kind == KIND_U8 || key->kind == KIND_U32;
    if (parse_real(text_of(event), key, &value) && (!whole || value == floor(value))) {
        *ret_value = value;
        return RC_OK;
    }
    (void)snprintf(must, sizeof(must), "a %snumber from %.9g to %.9g", whole ? "whole " : "",
                   key->least, key->most);
    return refuse_value(reader, event, key, must);
}

static enum rc read_choice(const struct reader *reader, const yaml_event_t *event,
                           const struct key *key, unsigned *ret_index)
{
    char must[96] = "";
    for (unsigned i = 0; key->values[i] != NULL; i++) {
        if (strcmp(text_of(event), key->values[i]) == 0) {
            *ret_index = i;
            return RC_OK;
        }
        size_t size = strlen(must);
        (void)snprintf(must + size, sizeof(must) - size, "%s%s", i > 0 ? ", " : "", key->values[i]);
    }
    char full[112];
    (void)snprintf(full, sizeof(full), "one of %s", must);
    return refuse_value(reader, event, key, full);
}

static enum rc read_text(const struct reader *reader, const yaml_event_t *event,
                         const struct key *key, char **ret_text)
{
    const char *text = text_of(event);
    size_t size = event->data.scalar.length;
    char must[64];
    if (size < (size_t)key->least || size > (size_t)key->most) {
        (void)snprintf(must, sizeof(must), "%.0f to %.0f bytes long", key->least, key->most);
        return refuse_value(reader, event, key, must);
    }
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return refuse_value(reader, event, key, "text without control characters");
    if (key->kind == KIND_NAME && !model_name_fits(text))
        return refuse_value(reader, event, key, "of a-z, 0-9, '.', '_' and '-'");
    if (key->kind == KIND_VERSION && !model_version_fits(text))
        return refuse_value(reader, event, key, "of letters, digits, '.', '_' and '-'");
    if (key->kind == KIND_FILE && (text[0] == '.' || strchr(text, '/') != NULL))
        return refuse_value(reader, event, key, "the name of a file beside this one");
    *ret_text = strdup(text);
    return *ret_text != NULL ? RC_OK : error_set(reader->err, RC_NO_MEMORY, "%s", reader->file);
}

static enum rc read_three(struct reader *reader, const struct key *key, float into[CHANNELS])
{
    yaml_event_t event;
    for (int i = 0; i < CHANNELS; i++) {
        double value = 0;
        enum rc rc = next(reader, &event);
        if (rc != RC_OK)
            return rc;
        if (event.type != YAML_SCALAR_EVENT)
            rc = refuse_value(reader, &event, key, "a list of three numbers");
        else
            rc = read_number(reader, &event, key, &value);
        yaml_event_delete(&event);
        if (rc != RC_OK)
            return rc;
        into[i] = (float)value;
    }
    return expect(reader, YAML_SEQUENCE_END_EVENT, "the list has more than three numbers");
}

static enum rc read_scalar(const struct reader *reader, const yaml_event_t *event,
                           const struct key *key)
{
    void *field = (char *)reader->spec + key->offset;
    double number = 0;
    unsigned index = 0;
    enum rc rc = RC_OK;
    if (key_is_text(key))
        return read_text(reader, event, key, field);
    if (key->values != NULL)
        rc = read_choice(reader, event, key, &index);
    else
        rc = read_number(reader, event, key, &number);
    if (rc != RC_OK)
        return rc;
    if (key->kind == KIND_FLAG)
        *(bool *)field = index != 0;
    else if (key->kind == KIND_CHOICE)
        *(unsigned *)field = index;
    else if (key->kind == KIND_U8)
        *(uint8_t *)field = (uint8_t)number;
    else if (key->kind == KIND_U32)
        *(uint32_t *)field = (uint32_t)number;
    else
        *(double *)field = number;
    return RC_OK;
}

static enum rc read_value(struct reader *reader, const struct key *key)
{
    yaml_event_t event;
    enum rc rc = next(reader, &event);
    if (rc != RC_OK)
        return rc;
    bool list = key->kind == KIND_REAL3;
    if (event.type != (list ? YAML_SEQUENCE_START_EVENT : YAML_SCALAR_EVENT))
        rc = refuse_value(reader, &event, key, list ? "a list of three numbers" : "a single value");
    else if (list)
        rc = read_three(reader, key, (float *)((char *)reader->spec + key->offset));
    else
        rc = read_scalar(reader, &event, key);
    yaml_event_delete(&event);
    return rc;
}

static enum rc read_mapping(struct reader *reader, const char *section);

static enum rc read_section(struct reader *reader, const char *section)
{
    enum rc rc = expect(reader, YAML_MAPPING_START_EVENT, "keys and values are expected here");
    return rc == RC_OK ? read_mapping(reader, section) : rc;
}

/* A key has been read: its value is next. */
static enum rc read_key(struct reader *reader, const yaml_event_t *event, const char *section)
{
    static const char *const sections[] = {"input", "output"};
    for (size_t i = 0; i < MODEL_KEY_COUNT; i++) {
        const struct key *key = &model_keys[i];
        if (strcmp(key->section, section) != 0 || strcmp(key->name, text_of(event)) != 0)
            continue;
        if (reader->lines[i] != 0)
            return refuse_value(reader, event, key, "given once");
        reader->lines[i] = event->start_mark.line + 1;
        return read_value(reader, key);
    }
    /* A section given twice is found by its keys. */
    for (size_t i = 0; section[0] == '\0' && i < sizeof(sections) / sizeof(sections[0]); i++)
        if (strcmp(sections[i], text_of(event)) == 0)
            return read_section(reader, sections[i]);
    return error_set(reader->err, RC_INVALID, "%s:%zu:%zu: there is no key '%.40s' %s%s",
                     reader->file, event->start_mark.line + 1, event->start_mark.column + 1,
                     text_of(event), section[0] != '\0' ? "in " : "here", section);
}

static enum rc read_mapping(struct reader *reader, const char *section)
{
    for (;;) {
        yaml_event_t event;
        enum rc rc = next(reader, &event);
        if (rc != RC_OK)
            return rc;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        if (event.type == YAML_SCALAR_EVENT)
            rc = read_key(reader, &event, section);
        else if (!end)
            rc = refuse_at(reader, &event.start_mark, "a key is expected here");
        yaml_event_delete(&event);
        if (rc != RC_OK || end)
            return rc;
    }
}

static size_t line_of(const struct reader *reader, const char *section, const char *name)
{
    for (size_t i = 0; i < MODEL_KEY_COUNT; i++)
        if (strcmp(model_keys[i].section, section) == 0 && strcmp(model_keys[i].name, name) == 0)
            return reader->lines[i];
    assert(false); /* callers name keys of keys.def */
    return 0;
}

static enum rc refuse_line(const struct reader *reader, size_t line, const char *text)
{
    return error_set(reader->err, RC_INVALID, "%s:%zu:1: %s", reader->file, line, text);
}

/* What one key says of another. */
static enum rc check_geometry(const struct reader *reader)
{
    const struct image_geometry *geometry = &reader->spec->geometry;
    static const struct {
        const char *key;
        enum image_mode mode;
        bool needed;
        const char *text;
    } rules[] = {
        {"crop_fraction", IMAGE_CENTER_CROP, true,
         "input.crop_fraction belongs to geometry center-crop, which needs it"},
        {"resize_side", IMAGE_RESIZE_CROP, true,
         "input.resize_side belongs to geometry resize-crop, which needs it"},
        {"pad", IMAGE_LETTERBOX, false, "input.pad belongs to geometry letterbox"},
    };
    size_t geometry_line = line_of(reader, "input", "geometry");
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        size_t line = line_of(reader, "input", rules[i].key);
        bool applies = geometry->mode == rules[i].mode;
        if (applies ? line == 0 && rules[i].needed : line != 0)
            return refuse_line(reader, line != 0 ? line : geometry_line, rules[i].text);
    }
    if (geometry->mode == IMAGE_RESIZE_CROP &&
        (geometry->resize_side < geometry->width || geometry->resize_side < geometry->height))
        return refuse_line(reader, line_of(reader, "input", "resize_side"),
                           "input.resize_side must be at least width and height");
    return RC_OK;
}

static enum rc check_spec(struct reader *reader)
{
    struct model_spec *spec = reader->spec;
    for (size_t i = 0; i < MODEL_KEY_COUNT; i++)
        if (model_keys[i].needed && reader->lines[i] == 0)
            return error_set(reader->err, RC_INVALID, "%s:1:1: the key %s%s%s is missing",
                             reader->file, model_keys[i].section,
                             model_keys[i].section[0] != '\0' ? "." : "", model_keys[i].name);
    if (strcmp(spec->task, "classification") != 0)
        return refuse_line(reader, line_of(reader, "", "task"), "task must be classification");
    for (int i = 0; i < CHANNELS && spec->input_u8; i++)
        if (spec->mean[i] != 0.0f || spec->scale[i] != 1.0f)
            return refuse_line(reader, line_of(reader, "input", "type"),
                               "a graph that takes u8 normalises itself: mean must be 0, scale 1");
    return check_geometry(reader);
}

static enum rc read_document(struct reader *reader)
{
    enum rc rc = expect(reader, YAML_STREAM_START_EVENT, "this is not YAML");
    if (rc == RC_OK)
        rc = expect(reader, YAML_DOCUMENT_START_EVENT, "the file is empty");
    if (rc == RC_OK)
        rc = read_section(reader, "");
    if (rc == RC_OK)
        rc = expect(reader, YAML_DOCUMENT_END_EVENT, "the file should end here");
    if (rc == RC_OK)
        rc = expect(reader, YAML_STREAM_END_EVENT, "one document is enough");
    return rc == RC_OK ? check_spec(reader) : rc;
}

enum rc model_spec_parse(struct bytes yaml, const char *file, struct model_spec *ret_spec,
                         struct error *err)
{
    assert(file != NULL && ret_spec != NULL);
    struct model_spec spec = {.scale = {1.0f, 1.0f, 1.0f}};
    struct reader reader = {.file = file, .err = err, .spec = &spec};
    if (yaml.size > SPEC_SIZE_MAX)
        return error_set(err, RC_INVALID, "%s: %zu bytes are over the limit of %u", file, yaml.size,
                         SPEC_SIZE_MAX);
    /* libyaml takes some other encodings by their byte order mark; this product speaks UTF-8. */
    if (yaml.size == 0 || memchr(yaml.data, 0, yaml.size) != NULL)
        return error_set(err, RC_INVALID, "%s:1:1: the file is empty or not text", file);
    if (yaml_parser_initialize(&reader.parser) == 0)
        return error_set(err, RC_NO_MEMORY, "%s", file);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, yaml.data, yaml.size);
    enum rc rc = read_document(&reader);
    yaml_parser_delete(&reader.parser);
    if (rc == RC_OK)
        *ret_spec = spec;
    else
        model_spec_done(&spec);
    return rc;
}

void model_spec_done(struct model_spec *spec)
{
    for (size_t i = 0; i < MODEL_KEY_COUNT; i++)
        if (key_is_text(&model_keys[i]))
            free(*(char **)((char *)spec + model_keys[i].offset));
    *spec = (struct model_spec){0};
}
