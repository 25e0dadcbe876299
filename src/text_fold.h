/*
 * text_fold.h
 *		How texts, phone numbers and names of regions are compared: pure.
 *
 * Everything takes UTF-8 of the given length and returns new memory in the
 * current context.  Nothing here reads a table, a setting or a locale.
 */
#ifndef SEGMENT_TEXT_FOLD_H
#define SEGMENT_TEXT_FOLD_H

#include "segment.h"

#include "utils/array.h"
#include "utils/jsonb.h"

/* numbers of so many digits that begin with old_prefix now begin with new_prefix */
typedef struct PhoneRenumbering
{
	char	   *old_prefix;
	char	   *new_prefix;
	int			digits;
} PhoneRenumbering;

typedef struct PhoneRules
{
	char	   *country_code;
	int			nrenumberings;
	PhoneRenumbering *renumberings;
} PhoneRules;

/* texts */
extern text *segment_fold_text(const char *s, int len);
extern text *segment_unaccent_text(const char *s, int len);
extern ArrayType *segment_words_of(const text *folded);
extern bool segment_has_words_in(const text *folded, const text *words);

/* profile fields; NULL where nothing can be read */
extern text *segment_given_name_text(const char *s, int len, bool first);
extern text *segment_given_name_as_written(const char *s, int len, bool first);
extern text *segment_email_domain_text(const char *s, int len);
extern const char *segment_sex_name(const char *s, int len);
extern text *segment_region_text(const char *s, int len);

/* phones */
extern PhoneRules *segment_parse_phone_rules(Jsonb *rules);
extern text *segment_phone_text(const char *s, int len, const PhoneRules *rules);
extern text *segment_phone_pattern_text(const char *s, int len, const PhoneRules *rules);

#endif							/* SEGMENT_TEXT_FOLD_H */
