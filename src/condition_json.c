/*
 * condition_json.c
 *		The condition language as a rule tree: casts from and to jsonb.
 *
 * The tree is react-querybuilder's RuleGroupType:
 *
 *		{"combinator": "and", "not": false, "rules": [
 *		   {"field": "age", "operator": ">=", "value": 18, "valueSource": "value"}, ...]}
 *
 * read with independent combinators too.  What its stock operators cannot say
 * is carried by operators and members of our own, which its user interface
 * keeps as they are:
 *
 *		"field": "anniversary(birth_date)", "tier(ladder = 'x')"	a figure that an interface offers as one field
 *		"function": "unaccented" | "anniversary"	around the field; "none": it is a mere name, however spelled
 *		"where": {group}					narrows the field
 *		"match": {"mode": "some" | "none"}, "value": {group}	MATCHES, in its own form
 *		"value": {"field": name, "where": {group}, "times": number}		where valueSource is field
 *		"value": {"text": "2026-01-31"}		a text that is spelled like something else
 *		operators during, hasWord, containsAny, containsAll, ..., everybody, nobody
 *
 * A rule or group that is muted is left out, as in that project's own exports.
 * Members that nobody knows are refused: one that is misspelled must not
 * silently widen a group.
 */
#include "segment.h"

#include "condition.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(segment_condition_to_jsonb);
PG_FUNCTION_INFO_V1(segment_condition_from_jsonb);

/* Every operator, in the order of preference for writing. */
typedef struct RuleOperator
{
	const char *name;
	uint8		kind;
	uint8		detail;
	bool		negated;
} RuleOperator;

static const RuleOperator rule_operators[] = {
	{"=", CONDITION_COMPARE, CONDITION_EQ, false},
	{"!=", CONDITION_COMPARE, CONDITION_NE, false},
	{"<", CONDITION_COMPARE, CONDITION_LT, false},
	{"<=", CONDITION_COMPARE, CONDITION_LE, false},
	{">", CONDITION_COMPARE, CONDITION_GT, false},
	{">=", CONDITION_COMPARE, CONDITION_GE, false},
	{"between", CONDITION_BETWEEN, 0, false},
	{"notBetween", CONDITION_BETWEEN, 0, true},
	{"in", CONDITION_IN, 0, false},
	{"notIn", CONDITION_IN, 0, true},
	{"null", CONDITION_IS_NULL, 0, false},
	{"notNull", CONDITION_IS_NULL, 0, true},
	{"contains", CONDITION_CONTAINS, CONDITION_ONE, false},
	{"doesNotContain", CONDITION_CONTAINS, CONDITION_ONE, true},
	{"beginsWith", CONDITION_STARTS_WITH, CONDITION_ONE, false},
	{"doesNotBeginWith", CONDITION_STARTS_WITH, CONDITION_ONE, true},
	{"endsWith", CONDITION_ENDS_WITH, CONDITION_ONE, false},
	{"doesNotEndWith", CONDITION_ENDS_WITH, CONDITION_ONE, true},
	/* ours */
	{"hasWord", CONDITION_HAS_WORD, CONDITION_ONE, false},
	{"doesNotHaveWord", CONDITION_HAS_WORD, CONDITION_ONE, true},
	{"containsAny", CONDITION_CONTAINS, CONDITION_ANY, false},
	{"doesNotContainAny", CONDITION_CONTAINS, CONDITION_ANY, true},
	{"containsAll", CONDITION_CONTAINS, CONDITION_ALL, false},
	{"doesNotContainAll", CONDITION_CONTAINS, CONDITION_ALL, true},
	{"beginsWithAny", CONDITION_STARTS_WITH, CONDITION_ANY, false},
	{"doesNotBeginWithAny", CONDITION_STARTS_WITH, CONDITION_ANY, true},
	{"endsWithAny", CONDITION_ENDS_WITH, CONDITION_ANY, false},
	{"doesNotEndWithAny", CONDITION_ENDS_WITH, CONDITION_ANY, true},
	{"hasWordAny", CONDITION_HAS_WORD, CONDITION_ANY, false},
	{"doesNotHaveWordAny", CONDITION_HAS_WORD, CONDITION_ANY, true},
	{"during", CONDITION_DURING, 0, false},
	{"notDuring", CONDITION_DURING, 0, true},
	{"everybody", CONDITION_TRUE, 0, false},
	{"nobody", CONDITION_FALSE, 0, false}
};

/* What that project shows while nothing is chosen yet. */
#define PLACEHOLDER "~"

static ConditionItem *read_member(ConditionReader *reader, JsonbValue *value);
static ConditionItem *read_group(ConditionReader *reader, JsonbContainer *group, bool *empty);
static void write_item(JsonbParseState **state, const ConditionNode *node);
static JsonbValue *write_group(JsonbParseState **state, const ConditionNode *node);

/*
 * Reading
 */

pg_noreturn static void
refuse(ConditionReader *reader, int sqlstate, const char *message, const char *hint)
{
	segment_condition_fault(reader, sqlstate, 0, 0, message, hint);
	pg_unreachable();
}

/* Step to a member, in messages; returns what to go back to. */
static int
enter(ConditionReader *reader, const char *name)
{
	int			length = reader->path->len;

	if (length > 0)
		appendStringInfoChar(reader->path, '.');
	appendStringInfoString(reader->path, name);
	return length;
}

static int
enter_element(ConditionReader *reader, int n)
{
	int			length = reader->path->len;

	appendStringInfo(reader->path, "[%d]", n);
	return length;
}

static void
leave(ConditionReader *reader, int length)
{
	reader->path->len = length;
	reader->path->data[length] = '\0';
}

pg_noreturn static void
refuse_member(ConditionReader *reader, const char *name, const char *message, const char *hint)
{
	enter(reader, name);
	refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, message, hint);
}

/* A member that is there and not null. */
static bool
get(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), value) != NULL && value->type != jbvNull;
}

static char *
get_string(ConditionReader *reader, JsonbContainer *object, const char *name)
{
	JsonbValue	value;

	if (!get(object, name, &value))
		return NULL;
	if (value.type != jbvString)
		refuse_member(reader, name, "not a string", NULL);
	return pnstrdup(value.val.string.val, value.val.string.len);
}

static bool
get_flag(ConditionReader *reader, JsonbContainer *object, const char *name)
{
	JsonbValue	value;

	if (!get(object, name, &value))
		return false;
	if (value.type != jbvBool)
		refuse_member(reader, name, "neither true nor false", NULL);
	return value.val.boolean;
}

static JsonbContainer *
get_container(JsonbValue *value, bool array)
{
	if (value->type != jbvBinary || JsonContainerIsArray(value->val.binary.data) != array ||
		JsonContainerIsScalar(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

static bool
has_group(JsonbContainer *object)
{
	JsonbValue	rules;

	return getKeyJsonValueFromContainer(object, "rules", 5, &rules) != NULL;
}

static void
refuse_other_members(ConditionReader *reader, JsonbContainer *object, const char *const *names, int count)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	key;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		int			i;

		if (token != WJB_KEY)
			continue;
		for (i = 0; i < count; i++)
		{
			if (strlen(names[i]) == key.val.string.len && memcmp(names[i], key.val.string.val, key.val.string.len) == 0)
				break;
		}
		if (i == count)
			refuse_member(reader, pnstrdup(key.val.string.val, key.val.string.len), "unknown member of a rule tree",
						  "Leave it out before casting; a member that is not understood could change the meaning.");
	}
}

static ConditionItem *
new_list(ConditionItem *first)
{
	return segment_condition_add(segment_condition_item(CONDITION_TRUE, 0), first);
}

static ConditionItem *
read_number(ConditionReader *reader, const JsonbValue *value)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));

	return segment_condition_number(reader, text, strlen(text), 0);
}

/* One value, where the path says it is. */
static ConditionItem *
read_value(ConditionReader *reader, JsonbValue *value)
{
	static const char *const members[] = {"text"};
	ConditionItem *item;
	JsonbContainer *object;
	char	   *text;

	switch (value->type)
	{
		case jbvString:
			if (value->val.string.len == strlen(PLACEHOLDER) && value->val.string.val[0] == PLACEHOLDER[0])
				refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "no value is chosen yet", NULL);
			/* a string of jsonb has no end of its own */
			text = pnstrdup(value->val.string.val, value->val.string.len);
			return segment_condition_word(reader, text, strlen(text));
		case jbvNumeric:
			return read_number(reader, value);
		case jbvBool:
			item = segment_condition_item(CONDITION_BOOLEAN, 0);
			item->number = value->val.boolean;
			return item;
		case jbvNull:
			refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "a value is missing",
				   "Use the operator null or notNull to ask for a missing value.");
		default:
			object = get_container(value, false);
			if (object == NULL || (text = get_string(reader, object, "text")) == NULL)
				refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a value",
					   "A value is a string, a number, true, false, or {\"text\": \"...\"}.");
			refuse_other_members(reader, object, members, lengthof(members));
			return segment_condition_string(text, strlen(text), 0);
	}
}

/*
 * a, b\, c: two strings, as react-querybuilder joins them.  It writes the
 * bounds of BETWEEN so too, where a text would be no use: there, what is
 * spelled like a number is one.
 */
static ConditionItem *
read_joined(ConditionReader *reader, const JsonbValue *value, bool numbers)
{
	const char *from = value->val.string.val;
	const char *end = from + value->val.string.len;
	ConditionItem *list = segment_condition_item(CONDITION_TRUE, 0);

	while (from < end)
	{
		StringInfoData element;

		initStringInfo(&element);
		for (; from < end && *from != ','; from++)
		{
			if (*from == '\\' && from + 1 < end && from[1] == ',')
				from++;
			appendStringInfoChar(&element, *from);
		}
		from++;
		while (element.len > 0 && element.data[element.len - 1] == ' ')
			element.data[--element.len] = '\0';
		while (*element.data == ' ')
		{
			element.data++;
			element.len--;
		}
		if (element.len == 0)
			continue;
		if (numbers && segment_condition_spelled_as_number(element.data, element.len))
			segment_condition_add(list, segment_condition_number(reader, element.data, element.len, 0));
		else
			segment_condition_add(list, segment_condition_word(reader, element.data, element.len));
	}
	return list;
}

static ConditionItem *
read_values(ConditionReader *reader, JsonbValue *value, bool numbers)
{
	ConditionItem *list = segment_condition_item(CONDITION_TRUE, 0);
	JsonbContainer *array = get_container(value, true);

	if (value->type == jbvString)
		list = read_joined(reader, value, numbers);
	else if (array == NULL)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a list of values",
			   "Give an array, or a string of values joined by commas.");
	else
	{
		JsonbIterator *iterator = JsonbIteratorInit(array);
		JsonbIteratorToken token;
		JsonbValue	element;

		while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
		{
			int			length;

			CHECK_FOR_INTERRUPTS();
			if (token != WJB_ELEM)
				continue;
			length = enter_element(reader, list->nchildren);
			segment_condition_add(list, read_value(reader, &element));
			leave(reader, length);
		}
	}
	if (list->nchildren == 0)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "at least one value is needed", NULL);
	return list;
}

/* A group whose rules must all hold, as clauses. */
static ConditionItem *
read_clauses(ConditionReader *reader, JsonbValue *value, bool may_be_empty)
{
	JsonbContainer *object = get_container(value, false);
	ConditionItem *item;
	bool		empty = false;

	if (object == NULL || !has_group(object))
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a group of rules", NULL);
	item = read_group(reader, object, may_be_empty ? &empty : NULL);
	if (item == NULL)
	{
		if (!empty)
			refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "everything in this group is muted",
				   "A rule without it would ask for more customers.");
		return NULL;
	}
	if (item->kind == CONDITION_AND)
	{
		item->kind = CONDITION_TRUE;
		for (ConditionItem *child = item->first; child; child = child->next)
		{
			if (child->kind < CONDITION_COMPARE)
				item->kind = CONDITION_OR;
		}
		if (item->kind == CONDITION_TRUE)
			return item;
	}
	else if (item->kind >= CONDITION_COMPARE)
		return new_list(item);
	refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "inside this group everything must hold together",
		   "Use the combinator and, without not; for or make two rules.");
}

/*
 * User interfaces choose among fields by name alone, and cannot put anything
 * beside the name.  So what makes another field of one is spelled into it:
 * anniversary(birth_date), tier(ladder = 'visits').
 */
static const struct
{
	const char *before;
	const char *after;
}			spelled_fields[] = {
	{"anniversary(", ")"},
	{"tier(ladder = '", "')"}
};

/* What stands in the parentheses of a field spelled so; NULL for a mere name. */
static char *
spelled_inside(const char *field, bool *anniversary)
{
	for (int i = 0; i < lengthof(spelled_fields); i++)
	{
		size_t		before = strlen(spelled_fields[i].before);
		size_t		after = strlen(spelled_fields[i].after);
		size_t		length = strlen(field);

		if (length > before + after && strncmp(field, spelled_fields[i].before, before) == 0 &&
			strcmp(field + length - after, spelled_fields[i].after) == 0)
		{
			*anniversary = i == 0;
			return pnstrdup(field + before, length - before - after);
		}
	}
	return NULL;
}

static ConditionItem *
read_name(ConditionReader *reader, const char *name, ConditionItem *params)
{
	return segment_condition_figure(reader, segment_condition_string(name, strlen(name), 0), params);
}

static ConditionItem *
read_spelled(ConditionReader *reader, const char *inside, bool anniversary)
{
	ConditionItem *param;

	if (anniversary)
		return segment_condition_apply(reader, segment_condition_string("anniversary", strlen("anniversary"), 0),
									   read_name(reader, inside, NULL));
	param = segment_condition_item(CONDITION_COMPARE, 0);
	param->detail = CONDITION_EQ;
	segment_condition_add(param, read_name(reader, "ladder", NULL));
	segment_condition_add(param, segment_condition_string(inside, strlen(inside), 0));
	return read_name(reader, "tier", new_list(segment_condition_clause(reader, param)));
}

static ConditionItem *
read_figure(ConditionReader *reader, JsonbContainer *object)
{
	ConditionItem *params = NULL;
	ConditionItem *figure;
	JsonbValue	where;
	char	   *field = get_string(reader, object, "field");
	char	   *function = get_string(reader, object, "function");
	char	   *inside;
	bool		anniversary;
	int			length;

	if (field == NULL || (strcmp(field, PLACEHOLDER) == 0 && function == NULL) || *field == '\0')
		refuse_member(reader, "field", "no field is chosen yet", NULL);
	if (get(object, "where", &where))
	{
		length = enter(reader, "where");
		params = read_clauses(reader, &where, false);
		leave(reader, length);
	}
	length = enter(reader, "field");
	inside = params || function ? NULL : spelled_inside(field, &anniversary);
	figure = inside ? read_spelled(reader, inside, anniversary) : read_name(reader, field, params);
	leave(reader, length);
	if (function && strcmp(function, "none") != 0)
	{
		if (strcmp(function, "unaccented") != 0 && strcmp(function, "anniversary") != 0)
			refuse_member(reader, "function", "unknown function", "Use unaccented or anniversary.");
		length = enter(reader, "function");
		figure = segment_condition_apply(reader, segment_condition_string(function, strlen(function), 0), figure);
		leave(reader, length);
	}
	return figure;
}

/* What stands on the right, where it is a figure; with its factor. */
static ConditionItem *
read_right_figure(ConditionReader *reader, JsonbValue *value)
{
	static const char *const members[] = {"field", "where", "times", "function"};
	JsonbContainer *object;
	JsonbValue	times;
	ConditionItem *list;
	int			length;

	if (value->type == jbvString)
	{
		char	   *name = pnstrdup(value->val.string.val, value->val.string.len);

		if (*name == '\0' || strcmp(name, PLACEHOLDER) == 0)
			refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "no field is chosen yet", NULL);
		return new_list(segment_condition_figure(reader, segment_condition_string(name, strlen(name), 0), NULL));
	}
	object = get_container(value, false);
	if (object == NULL)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not the name of a field",
			   "Give a name, or {\"field\": name, \"times\": number}.");
	refuse_other_members(reader, object, members, lengthof(members));
	list = new_list(read_figure(reader, object));
	if (list->first->detail != CONDITION_PLAIN)
		refuse_member(reader, "field", "unaccented() and anniversary() do not stand on the right", NULL);
	if (!get(object, "times", &times))
		return list;
	length = enter(reader, "times");
	if (times.type != jbvNumeric)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a number", NULL);
	segment_condition_add(list, read_number(reader, &times));
	leave(reader, length);
	return list;
}

/* "match": {"mode": "atLeast", "threshold": 2} asks for the count of events. */
static void
add_count(ConditionReader *reader, ConditionItem *clause, ConditionOperator operator, const JsonbValue *threshold)
{
	ConditionItem *compare = segment_condition_item(CONDITION_COMPARE, 0);

	compare->detail = operator;
	segment_condition_add(compare, segment_condition_figure(reader, segment_condition_string("count", 5, 0), NULL));
	segment_condition_add(compare, read_number(reader, threshold));
	segment_condition_add(clause, compare);
}

static void
read_mode(ConditionReader *reader, JsonbContainer *match, ConditionItem *clause)
{
	static const char *const members[] = {"mode", "threshold"};
	char	   *mode = get_string(reader, match, "mode");
	JsonbValue	threshold;
	char	   *count;

	refuse_other_members(reader, match, members, lengthof(members));
	if (mode != NULL && strcmp(mode, "some") == 0)
		return;
	if (mode != NULL && strcmp(mode, "none") == 0)
	{
		clause->negated = true;
		return;
	}
	if (mode == NULL || (strcmp(mode, "atLeast") != 0 && strcmp(mode, "atMost") != 0 && strcmp(mode, "exactly") != 0))
		refuse_member(reader, "mode", "unknown mode of match",
					  "Use some, none, atLeast, atMost or exactly.");
	if (!get(match, "threshold", &threshold) || threshold.type != jbvNumeric)
		refuse_member(reader, "threshold", "not a number of events", NULL);
	count = read_number(reader, &threshold)->text;
	if (strspn(count, "0123456789") != strlen(count) || (strcmp(count, "0") == 0 && strcmp(mode, "atLeast") == 0))
		refuse_member(reader, "threshold", "not a number of events", "Shares below 1 cannot be asked for.");
	if (strcmp(count, "0") == 0)
		clause->negated = true;
	else if (strcmp(mode, "atLeast") == 0)
	{
		if (strcmp(count, "1") != 0)
			add_count(reader, clause, CONDITION_GE, &threshold);
	}
	else
		add_count(reader, clause, strcmp(mode, "atMost") == 0 ? CONDITION_LE : CONDITION_EQ, &threshold);
}

static ConditionItem *
read_match(ConditionReader *reader, JsonbContainer *rule, JsonbValue *match)
{
	ConditionItem *clause = segment_condition_item(CONDITION_MATCHES, 0);
	ConditionItem *params = NULL;
	JsonbContainer *mode = get_container(match, false);
	JsonbValue	value;
	int			length;

	segment_condition_add(clause, read_figure(reader, rule));
	length = enter(reader, "value");
	if (!get(rule, "value", &value))
		value.type = jbvNull;
	params = read_clauses(reader, &value, true);
	leave(reader, length);
	if (params)
		segment_condition_adopt(clause, params);
	length = enter(reader, "match");
	if (mode == NULL)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not an object", NULL);
	read_mode(reader, mode, clause);
	leave(reader, length);
	return segment_condition_clause(reader, clause);
}

static ConditionItem *
read_period(ConditionReader *reader, JsonbValue *value)
{
	ConditionItem *name;
	ConditionItem *count = NULL;
	char	   *text;
	char	   *open;

	if (value->type != jbvString)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a period", "Give \"last_month\", \"month(-2)\" and the like.");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	open = strchr(text, '(');
	if (open != NULL && open[1] != '\0' && text[strlen(text) - 1] == ')' &&
		segment_condition_spelled_as_number(open + 1, strlen(open) - 2))
	{
		count = segment_condition_number(reader, open + 1, strlen(open) - 2, 0);
		*open = '\0';
	}
	name = segment_condition_string(text, strlen(text), 0);
	return new_list(segment_condition_period(reader, name, count));
}

static const RuleOperator *
read_operator(ConditionReader *reader, JsonbContainer *rule)
{
	char	   *name = get_string(reader, rule, "operator");

	if (name == NULL || *name == '\0' || strcmp(name, PLACEHOLDER) == 0)
		refuse_member(reader, "operator", "no operator is chosen yet", NULL);
	for (int i = 0; i < lengthof(rule_operators); i++)
	{
		if (strcmp(rule_operators[i].name, name) == 0)
			return &rule_operators[i];
	}
	refuse_member(reader, "operator", psprintf("unknown operator \"%s\"", name),
				  "Use the operators of react-querybuilder, or during, hasWord, containsAny, containsAll and their kin.");
}

/* What stands on the right of an operator. */
static ConditionItem *
read_operands(ConditionReader *reader, JsonbContainer *rule, const RuleOperator *operator)
{
	char	   *source = get_string(reader, rule, "valueSource");
	JsonbValue	value;
	ConditionItem *operands;
	bool		is_field = source != NULL && strcmp(source, "field") == 0;

	if (operator->kind == CONDITION_IS_NULL)
		return NULL;
	if (source != NULL && !is_field && strcmp(source, "value") != 0)
		refuse_member(reader, "valueSource", "unknown source of a value", "Use value or field.");
	if (is_field && operator->kind != CONDITION_COMPARE)
		refuse_member(reader, "valueSource", "a field on the right stands behind =, !=, <, <=, > and >= only", NULL);
	enter(reader, "value");
	if (!get(rule, "value", &value))
		value.type = jbvNull;
	if (is_field)
		return read_right_figure(reader, &value);
	if (operator->kind == CONDITION_DURING)
		return read_period(reader, &value);
	if (operator->kind == CONDITION_COMPARE || (operator->kind >= CONDITION_CONTAINS && operator->detail == CONDITION_ONE))
		return new_list(read_value(reader, &value));
	operands = read_values(reader, &value, operator->kind == CONDITION_BETWEEN);
	if (operator->kind == CONDITION_BETWEEN && operands->nchildren != 2)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "BETWEEN takes two values", NULL);
	return operands;
}

static ConditionItem *
read_rule(ConditionReader *reader, JsonbContainer *rule)
{
	static const char *const members[] = {
		"field", "operator", "value", "valueSource", "match", "function", "where",
		"id", "path", "disabled", "muted", "combinatorPreceding"
	};
	const RuleOperator *operator;
	ConditionItem *clause;
	ConditionItem *operands;
	JsonbValue	match;
	char	   *name;
	int			length = reader->path->len;

	refuse_other_members(reader, rule, members, lengthof(members));
	get_flag(reader, rule, "disabled");
	if (get_flag(reader, rule, "muted"))
		return NULL;
	if (get(rule, "match", &match))
		return read_match(reader, rule, &match);
	name = get_string(reader, rule, "operator");
	if (name && (strcmp(name, "everybody") == 0 || strcmp(name, "nobody") == 0))
		return segment_condition_item(read_operator(reader, rule)->kind, 0);
	clause = segment_condition_item(CONDITION_COMPARE, 0);
	segment_condition_add(clause, read_figure(reader, rule));
	operator = read_operator(reader, rule);
	clause->kind = operator->kind;
	clause->detail = operator->detail;
	clause->negated = operator->negated;
	operands = read_operands(reader, rule, operator);
	if (operands)
		segment_condition_adopt(clause, operands);
	clause = segment_condition_clause(reader, clause);
	leave(reader, length);
	return clause;
}

/* A rule or a group; NULL if it is muted. */
static ConditionItem *
read_member(ConditionReader *reader, JsonbValue *value)
{
	JsonbContainer *object = get_container(value, false);

	if (object == NULL)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "neither a rule nor a group",
			   "A rule is an object with field, operator and value, a group one with combinator and rules.");
	return has_group(object) ? read_group(reader, object, NULL) : read_rule(reader, object);
}

/* "and", "or", of a group or between two rules */
static ConditionKind
read_combinator(ConditionReader *reader, const char *name, int length)
{
	if (length == 3 && pg_strncasecmp(name, "and", 3) == 0)
		return CONDITION_AND;
	if (length == 2 && pg_strncasecmp(name, "or", 2) == 0)
		return CONDITION_OR;
	refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, psprintf("unknown combinator \"%.*s\"", length, name),
		   "Use and or or.");
}

/* The rules of a group joined; between them their own combinators, where the group has none: AND binds tighter. */
typedef struct Joined
{
	ConditionItem *ors;			/* alternatives that are complete */
	ConditionItem *ands;		/* the one that is being read */
	int			nrules;
} Joined;

static void
join(Joined *joined, ConditionKind kind, ConditionItem *item)
{
	if (joined->ands == NULL)
		joined->ands = item;
	else if (kind == CONDITION_AND)
		joined->ands = segment_condition_combine(CONDITION_AND, joined->ands, item);
	else
	{
		joined->ors = joined->ors ? segment_condition_combine(CONDITION_OR, joined->ors, joined->ands) : joined->ands;
		joined->ands = item;
	}
}

static ConditionItem *
joined_item(Joined *joined)
{
	return joined->ors ? segment_condition_combine(CONDITION_OR, joined->ors, joined->ands) : joined->ands;
}

static void
read_rules(ConditionReader *reader, JsonbContainer *rules, const char *combinator, Joined *joined)
{
	JsonbIterator *iterator = JsonbIteratorInit(rules);
	JsonbIteratorToken token;
	JsonbValue	element;
	ConditionKind kind = CONDITION_AND;
	int			n = 0;

	if (combinator)
		kind = read_combinator(reader, combinator, strlen(combinator));
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		ConditionItem *item;
		int			length;

		if (token != WJB_ELEM)
			continue;
		length = enter_element(reader, n++);
		if (combinator == NULL && n % 2 == 0)
		{
			if (element.type != jbvString)
				refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "a combinator is missing",
					   "Give the group a combinator, or write \"and\" or \"or\" between its rules.");
			kind = read_combinator(reader, element.val.string.val, element.val.string.len);
		}
		else
		{
			item = read_member(reader, &element);
			joined->nrules++;
			if (item)
				join(joined, kind, item);
		}
		leave(reader, length);
	}
	if (combinator == NULL && n > 0 && n % 2 == 0)
	{
		enter_element(reader, n - 1);
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "no rule follows this combinator", NULL);
	}
}

/*
 * A group; NULL if it is muted, or if it has no rules and the caller takes
 * that (where empty is given).
 */
static ConditionItem *
read_group(ConditionReader *reader, JsonbContainer *group, bool *empty)
{
	static const char *const members[] = {
		"combinator", "not", "rules", "id", "path", "disabled", "muted", "combinatorPreceding"
	};
	Joined		joined = {0};
	JsonbValue	rules;
	JsonbContainer *array;
	ConditionItem *item;
	bool		is_negated;
	int			length;
	char	   *combinator;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	refuse_other_members(reader, group, members, lengthof(members));
	get_flag(reader, group, "disabled");
	is_negated = get_flag(reader, group, "not");
	if (get_flag(reader, group, "muted"))
		return NULL;
	combinator = get_string(reader, group, "combinator");
	if (!get(group, "rules", &rules) || (array = get_container(&rules, true)) == NULL)
		refuse_member(reader, "rules", "not an array", NULL);
	length = enter(reader, "rules");
	read_rules(reader, array, combinator, &joined);
	item = joined_item(&joined);
	if (item == NULL && joined.nrules == 0 && empty && !is_negated)
		*empty = true;
	else if (item == NULL)
		refuse(reader, ERRCODE_INVALID_TEXT_REPRESENTATION,
			   joined.nrules == 0 ? "a group has no rules" : "every rule of a group is muted",
			   "An empty group would be for everybody: remove it, or say so with the operator everybody.");
	leave(reader, length);
	return item && is_negated ? segment_condition_not(item) : item;
}

/* jsonb::segment.condition */
Datum
segment_condition_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb	   *tree = PG_GETARG_JSONB_P(0);
	ConditionReader reader = {0};
	StringInfoData path;
	ConditionItem *root;

	initStringInfo(&path);
	reader.path = &path;
	if (!JB_ROOT_IS_OBJECT(tree) || !has_group(&tree->root))
		refuse(&reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "not a group of rules",
			   "A condition is {\"combinator\": \"and\", \"rules\": [...]}.");
	root = read_group(&reader, &tree->root, NULL);
	if (root == NULL)
		refuse(&reader, ERRCODE_INVALID_TEXT_REPRESENTATION, "the whole condition is muted",
			   "An empty condition would be for everybody.");
	PG_RETURN_CONDITION_P(segment_condition_flatten(&reader, root));
}

/*
 * Writing
 */

static void
write_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

/* A string as a member of an object (WJB_VALUE) or of an array (WJB_ELEM). */
static void
write_string(JsonbParseState **state, JsonbIteratorToken place, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, place, &value);
}

static void
write_flag(JsonbParseState **state, JsonbIteratorToken place, bool flag)
{
	JsonbValue	value;

	value.type = jbvBool;
	value.val.boolean = flag;
	pushJsonbValue(state, place, &value);
}

static void
write_member(JsonbParseState **state, const char *name, const char *text)
{
	write_key(state, name);
	write_string(state, WJB_VALUE, text);
}

static void
write_number(JsonbParseState **state, JsonbIteratorToken place, const ConditionNode *node)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(node->text),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	pushJsonbValue(state, place, &value);
}

static void
write_value(JsonbParseState **state, JsonbIteratorToken place, const ConditionNode *node)
{
	switch ((ConditionKind) node->kind)
	{
		case CONDITION_NUMBER:
			write_number(state, place, node);
			break;
		case CONDITION_BOOLEAN:
			write_flag(state, place, node->number != 0);
			break;
		case CONDITION_TEXT:
			if (segment_condition_spelled_as_word(node->text, node->length) || strcmp(node->text, PLACEHOLDER) == 0)
			{
				pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
				write_member(state, "text", node->text);
				pushJsonbValue(state, WJB_END_OBJECT, NULL);
			}
			else
				write_string(state, place, node->text);
			break;
		default:
			write_string(state, place, segment_condition_node_text(node));
			break;
	}
}

/* Clauses from child n on, as a group. */
static void
write_clauses(JsonbParseState **state, const ConditionNode *node, int n)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	write_member(state, "combinator", "and");
	write_key(state, "not");
	write_flag(state, WJB_VALUE, false);
	write_key(state, "rules");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (; n < node->nchildren; n++)
	{
		ConditionNode child;

		segment_condition_child(node, n, &child);
		write_item(state, &child);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A figure as one field that it can be spelled as; NULL where there is none. */
static char *
spelled_figure(const ConditionNode *figure)
{
	char	   *text;
	char	   *inside;
	bool		anniversary;

	if (figure->detail == CONDITION_UNACCENTED ||
		(figure->detail == CONDITION_PLAIN && (figure->nchildren != 1 || strcmp(figure->text, "tier") != 0)))
		return NULL;
	text = segment_condition_node_text(figure);
	inside = spelled_inside(text, &anniversary);
	/* nothing that is quoted in the text, no other clause */
	return inside && strpbrk(inside, "'\\()") == NULL ? text : NULL;
}

/* Whether a name would be read as something else. */
static bool
is_misread(const char *name)
{
	bool		anniversary;

	return strcmp(name, PLACEHOLDER) == 0 || spelled_inside(name, &anniversary) != NULL;
}

static void
write_figure(JsonbParseState **state, const ConditionNode *figure)
{
	char	   *spelled = spelled_figure(figure);

	write_member(state, "field", spelled ? spelled : figure->text);
	if (spelled)
		return;
	if (figure->detail != CONDITION_PLAIN)
		write_member(state, "function", figure->detail == CONDITION_UNACCENTED ? "unaccented" : "anniversary");
	else if (is_misread(figure->text))
		write_member(state, "function", "none");
	if (figure->nchildren > 0)
	{
		write_key(state, "where");
		write_clauses(state, figure, 0);
	}
}

static void
write_right_figure(JsonbParseState **state, const ConditionNode *clause, const ConditionNode *figure)
{
	ConditionNode factor;

	if (figure->nchildren == 0 && clause->nchildren == 2 && !is_misread(figure->text))
	{
		write_string(state, WJB_VALUE, figure->text);
		return;
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	write_figure(state, figure);
	if (clause->nchildren > 2)
	{
		segment_condition_child(clause, 2, &factor);
		write_key(state, "times");
		write_number(state, WJB_VALUE, &factor);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static const char *
operator_name(const ConditionNode *clause)
{
	for (int i = 0; i < lengthof(rule_operators); i++)
	{
		const RuleOperator *operator = &rule_operators[i];

		if (operator->kind == clause->kind && operator->detail == clause->detail && operator->negated == clause->negated)
			return operator->name;
	}
	elog(ERROR, "unexpected kind %d of clause in condition", clause->kind);
	return NULL;
}

/* The member "value", and what tells how to read it. */
static void
write_operands(JsonbParseState **state, const ConditionNode *clause)
{
	ConditionNode operand;
	bool		is_list;

	operand.kind = CONDITION_TRUE;
	if (clause->nchildren > 1)
		segment_condition_child(clause, 1, &operand);
	write_member(state, "valueSource", operand.kind == CONDITION_FIGURE ? "field" : "value");
	write_key(state, "value");
	is_list = clause->kind == CONDITION_BETWEEN || clause->kind == CONDITION_IN ||
		(clause->kind >= CONDITION_CONTAINS && clause->detail != CONDITION_ONE);
	if (clause->nchildren <= 1)
	{
		JsonbValue	null;

		null.type = jbvNull;
		pushJsonbValue(state, WJB_VALUE, &null);
	}
	else if (operand.kind == CONDITION_FIGURE)
		write_right_figure(state, clause, &operand);
	else if (!is_list)
		write_value(state, WJB_VALUE, &operand);
	else
	{
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 1; i < clause->nchildren; i++)
		{
			segment_condition_child(clause, i, &operand);
			write_value(state, WJB_ELEM, &operand);
		}
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
}

static void
write_match(JsonbParseState **state, const ConditionNode *clause)
{
	write_member(state, "operator", "=");
	write_key(state, "match");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	write_member(state, "mode", clause->negated ? "none" : "some");
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	write_key(state, "value");
	write_clauses(state, clause, 1);
}

static void
write_rule(JsonbParseState **state, const ConditionNode *clause)
{
	ConditionNode figure;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (clause->kind < CONDITION_COMPARE)
	{
		write_member(state, "field", "");
		write_member(state, "operator", operator_name(clause));
		write_operands(state, clause);
	}
	else
	{
		segment_condition_child(clause, 0, &figure);
		write_figure(state, &figure);
		if (clause->kind == CONDITION_MATCHES)
			write_match(state, clause);
		else
		{
			write_member(state, "operator", operator_name(clause));
			write_operands(state, clause);
		}
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Inside a group, what is not a clause is a group. */
static void
write_item(JsonbParseState **state, const ConditionNode *node)
{
	if (node->kind <= CONDITION_NOT)
		write_group(state, node);
	else
		write_rule(state, node);
}

static JsonbValue *
write_group(JsonbParseState **state, const ConditionNode *node)
{
	ConditionNode inner = *node;
	bool		is_negated = node->kind == CONDITION_NOT;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (is_negated)
		segment_condition_child(node, 0, &inner);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	write_member(state, "combinator", inner.kind == CONDITION_OR ? "or" : "and");
	write_key(state, "not");
	write_flag(state, WJB_VALUE, is_negated);
	write_key(state, "rules");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	if (inner.kind == CONDITION_OR || inner.kind == CONDITION_AND)
	{
		for (int i = 0; i < inner.nchildren; i++)
		{
			ConditionNode child;

			segment_condition_child(&inner, i, &child);
			write_item(state, &child);
		}
	}
	else
		write_item(state, &inner);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* segment.condition::jsonb */
Datum
segment_condition_to_jsonb(PG_FUNCTION_ARGS)
{
	Condition  *condition = PG_GETARG_CONDITION_P(0);
	JsonbParseState *state = NULL;
	ConditionNode root;

	segment_condition_root(condition, &root);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(write_group(&state, &root)));
}
