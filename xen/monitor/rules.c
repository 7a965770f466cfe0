/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which processes are watched: rules over the image's file name, without regard to ASCII case. */
#include "internal.h"

#define SHORT_NAME (UMBRA_NAME_BYTES - 1)
#define MAX_FILE_NAME 256u

static uint8_t lower(char character)
{
    uint8_t byte = (uint8_t)character;

    return byte >= 'A' && byte <= 'Z' ? byte + 32 : byte;
}

static uint32_t length_of(const char *text, uint32_t most)
{
    uint32_t length = 0;

    while ( length < most && text[length] )
        length++;
    return length;
}

static bool starts_with(const char *name, const char *pattern, uint32_t length)
{
    uint32_t i;

    for ( i = 0; i < length; i++ )
        if ( !name[i] || lower(name[i]) != lower(pattern[i]) )
            return false;
    return true;
}

/* `*` any run, `?` any one byte. Goes back to the last star only, so it is linear in practice, n*m at worst. */
static bool glob(const char *name, const char *pattern)
{
    const char *star = NULL, *resume = NULL;

    while ( *name )
    {
        if ( *pattern == '*' )
        {
            star = pattern++;
            resume = name;
        }
        else if ( *pattern == '?' || lower(*pattern) == lower(*name) )
        {
            pattern++;
            name++;
        }
        else if ( star )
        {
            pattern = star + 1;
            name = ++resume;
        }
        else
            return false;
    }
    while ( *pattern == '*' )
        pattern++;
    return !*pattern;
}

/* Last component of the image path in UTF-8; cut when longer than the room, "" when there is no path. */
static void file_name(const struct umbra_process_record *process, char *name, uint32_t room)
{
    uint32_t start = process->path_units, end = process->path_units, at = 0;

    while ( start && process->path[start - 1] != '\\' && process->path[start - 1] != '/' )
        start--;
    while ( start < end && at + 4 < room )
    {
        uint32_t point = process->path[start++];

        if ( point >= 0xd800 && point < 0xdc00 && start < end && process->path[start] >= 0xdc00 &&
             process->path[start] < 0xe000 )
            point = 0x10000 + ((point - 0xd800) << 10) + (process->path[start++] - 0xdc00u);
        if ( point < 0x80 )
            name[at++] = (char)point;
        else if ( point < 0x800 )
        {
            name[at++] = (char)(0xc0 | point >> 6);
            name[at++] = (char)(0x80 | (point & 63));
        }
        else if ( point < 0x10000 )
        {
            name[at++] = (char)(0xe0 | point >> 12);
            name[at++] = (char)(0x80 | ((point >> 6) & 63));
            name[at++] = (char)(0x80 | (point & 63));
        }
        else
        {
            name[at++] = (char)(0xf0 | point >> 18);
            name[at++] = (char)(0x80 | ((point >> 12) & 63));
            name[at++] = (char)(0x80 | ((point >> 6) & 63));
            name[at++] = (char)(0x80 | (point & 63));
        }
    }
    name[at] = 0;
}

/* `cut` says that the name may lack its end. */
static bool matches(const struct umbra_rule *rule, const char *name, bool cut)
{
    uint32_t pattern = length_of(rule->pattern, UMBRA_PATTERN_BYTES), length = length_of(name, MAX_FILE_NAME);

    if ( !length )
        return false;
    if ( cut && pattern > length )
        pattern = length;
    if ( rule->kind == UMBRA_RULE_PREFIX )
        return starts_with(name, rule->pattern, pattern);
    if ( rule->kind == UMBRA_RULE_EXACT )
        return length == pattern && starts_with(name, rule->pattern, pattern);
    return rule->kind == UMBRA_RULE_GLOB && glob(name, rule->pattern);
}

bool umbra_rules_match(struct umbra_domain *domain, const struct umbra_process_record *process)
{
    char name[MAX_FILE_NAME];
    uint32_t i;

    file_name(process, name, sizeof(name));
    for ( i = 0; i < domain->rules; i++ )
    {
        const struct umbra_rule *rule = &domain->rule[i];

        if ( rule->kind == UMBRA_RULE_PID )
        {
            if ( rule->pid == process->pid )
                return true;
        }
        else if ( rule->kind == UMBRA_RULE_ALL )
        {
            if ( process->peb )
                return true;
        }
        else if ( name[0] ? matches(rule, name, false)
                          : matches(rule, process->name, length_of(process->name, SHORT_NAME) >= SHORT_NAME - 1) )
            return true;
    }
    return false;
}

/* A long name is only in the path; the short one, which every process object carries, ends after 14 or 15. */
bool umbra_rules_need_path(const struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; i < domain->rules; i++ )
        if ( domain->rule[i].kind == UMBRA_RULE_GLOB ||
             length_of(domain->rule[i].pattern, UMBRA_PATTERN_BYTES) >= SHORT_NAME - 1 )
            return true;
    return false;
}

bool umbra_rules_all(const struct umbra_domain *domain)
{
    uint32_t i;

    for ( i = 0; i < domain->rules; i++ )
        if ( domain->rule[i].kind == UMBRA_RULE_ALL )
            return true;
    return false;
}

bool umbra_rule_valid(const struct umbra_rule *rule)
{
    uint32_t length = length_of(rule->pattern, UMBRA_PATTERN_BYTES);

    if ( rule->kind > UMBRA_RULE_ALL || length == UMBRA_PATTERN_BYTES )
        return false;
    return rule->kind == UMBRA_RULE_PID || rule->kind == UMBRA_RULE_ALL || length > 0;
}
