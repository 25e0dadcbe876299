/*
 * shim_jsonb.c
 *		What the casts from and to jsonb need of a server, for fuzzing without one.
 *
 * A container is its header and a pointer to its members.  Strings have no byte
 * behind them, as in the server, and a number is its text.
 */
#include "postgres.h"

#include "fmgr.h"
#include "fuzz.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

typedef struct Members
{
	int			n;
	JsonbValue *keys;			/* of an object */
	JsonbValue *values;
} Members;

/* What stands behind the length word of a Jsonb, and where a JsonbContainer is pointed to. */
typedef struct Container
{
	uint32		header;
	char		members[sizeof(Members *)];
} Container;

/*
 * Containers
 */

static Members *
members_of(const void *container)
{
	Members    *members;

	memcpy(&members, ((const Container *) container)->members, sizeof(members));
	return members;
}

static Container *
new_container(uint32 flag)
{
	Container  *container = palloc(sizeof(Container));
	Members    *members = palloc0(sizeof(Members));

	container->header = flag;
	memcpy(container->members, &members, sizeof(members));
	return container;
}

static void
append_value(JsonbValue **list, int n, const JsonbValue *value)
{
	JsonbValue *longer = palloc(sizeof(JsonbValue) * (n + 1));

	if (n > 0)
	{
		memcpy(longer, *list, sizeof(JsonbValue) * n);
		pfree(*list);
	}
	longer[n] = *value;
	*list = longer;
}

static void
append_member(Container *container, const JsonbValue *key, const JsonbValue *value)
{
	Members    *members = members_of(container);

	if (key)
		append_value(&members->keys, members->n, key);
	append_value(&members->values, members->n, value);
	members->n++;
	container->header++;
}

static int
compare_keys(const JsonbValue *left, const JsonbValue *right)
{
	if (left->val.string.len != right->val.string.len)
		return left->val.string.len - right->val.string.len;
	return memcmp(left->val.string.val, right->val.string.val, left->val.string.len);
}

/* Members in the order of jsonb, the last of those with the same key. */
static void
finish_object(Container *container)
{
	Members    *members = members_of(container);
	int			n = 0;

	for (int i = 0; i < members->n; i++)
	{
		JsonbValue	key = members->keys[i];
		JsonbValue	value = members->values[i];
		int			at = n;

		while (at > 0 && compare_keys(&members->keys[at - 1], &key) > 0)
			at--;
		if (at > 0 && compare_keys(&members->keys[at - 1], &key) == 0)
		{
			members->values[at - 1] = value;
			continue;
		}
		memmove(members->keys + at + 1, members->keys + at, sizeof(JsonbValue) * (n - at));
		memmove(members->values + at + 1, members->values + at, sizeof(JsonbValue) * (n - at));
		members->keys[at] = key;
		members->values[at] = value;
		n++;
	}
	members->n = n;
	container->header = JB_FOBJECT | n;
}

static void
set_container(JsonbValue *value, Container *container)
{
	value->type = jbvBinary;
	value->val.binary.len = sizeof(Container);
	value->val.binary.data = (JsonbContainer *) container;
}

static Jsonb *
as_jsonb(const Container *container)
{
	Jsonb	   *jsonb = palloc(VARHDRSZ + sizeof(Container));

	SET_VARSIZE(jsonb, VARHDRSZ + sizeof(Container));
	memcpy(VARDATA(jsonb), container, sizeof(Container));
	return jsonb;
}

JsonbValue *
getKeyJsonValueFromContainer(JsonbContainer *container, const char *key, int length, JsonbValue *result)
{
	Members    *members = members_of(container);
	JsonbValue	wanted;

	Assert(JsonContainerIsObject(container));
	wanted.val.string.val = unconstify(char *, key);
	wanted.val.string.len = length;
	for (int i = 0; i < members->n; i++)
	{
		if (compare_keys(&members->keys[i], &wanted) != 0)
			continue;
		if (result == NULL)
			result = palloc(sizeof(JsonbValue));
		*result = members->values[i];
		return result;
	}
	return NULL;
}

JsonbIterator *
JsonbIteratorInit(JsonbContainer *container)
{
	JsonbIterator *iterator = palloc0(sizeof(JsonbIterator));

	iterator->container = container;
	iterator->curIndex = -1;
	return iterator;
}

/* Nested containers are always skipped. */
JsonbIteratorToken
JsonbIteratorNext(JsonbIterator **iterator, JsonbValue *value, bool skip_nested)
{
	JsonbIterator *it = *iterator;
	bool		object;
	Members    *members;

	Assert(skip_nested);
	if (it == NULL)
		return WJB_DONE;
	object = JsonContainerIsObject(it->container);
	members = members_of(it->container);
	if (it->curIndex < 0)
	{
		it->curIndex = 0;
		return object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY;
	}
	if (it->curIndex < (object ? 2 * members->n : members->n))
	{
		int			n = it->curIndex++;

		*value = !object ? members->values[n] : n % 2 == 0 ? members->keys[n / 2] : members->values[n / 2];
		return !object ? WJB_ELEM : n % 2 == 0 ? WJB_KEY : WJB_VALUE;
	}
	pfree(it);
	*iterator = NULL;
	return object ? WJB_END_OBJECT : WJB_END_ARRAY;
}

/* The key that waits for its value is kept in "size". */
JsonbValue *
pushJsonbValue(JsonbParseState **state, JsonbIteratorToken token, JsonbValue *value)
{
	JsonbParseState *top = *state;
	Container  *container;
	JsonbValue	done;

	switch (token)
	{
		case WJB_BEGIN_OBJECT:
		case WJB_BEGIN_ARRAY:
			top = palloc0(sizeof(JsonbParseState));
			set_container(&top->contVal, new_container(token == WJB_BEGIN_OBJECT ? JB_FOBJECT : JB_FARRAY));
			top->next = *state;
			*state = top;
			return NULL;
		case WJB_KEY:
			top->size = (Size) memcpy(palloc(sizeof(JsonbValue)), value, sizeof(JsonbValue));
			return NULL;
		case WJB_VALUE:
		case WJB_ELEM:
			append_member((Container *) top->contVal.val.binary.data, (JsonbValue *) top->size, value);
			top->size = 0;
			return NULL;
		default:
			done = top->contVal;
			container = (Container *) done.val.binary.data;
			if (token == WJB_END_OBJECT)
				finish_object(container);
			*state = top->next;
			if (*state == NULL)
				return memcpy(palloc(sizeof(JsonbValue)), &done, sizeof(JsonbValue));
			return pushJsonbValue(state, (*state)->size ? WJB_VALUE : WJB_ELEM, &done);
	}
}

Jsonb *
JsonbValueToJsonb(JsonbValue *value)
{
	return as_jsonb((Container *) value->val.binary.data);
}

/*
 * Numbers
 */

Datum
numeric_in(PG_FUNCTION_ARGS)
{
	return CStringGetDatum(pstrdup(PG_GETARG_CSTRING(0)));
}

Datum
numeric_out(PG_FUNCTION_ARGS)
{
	return CStringGetDatum(pstrdup(PG_GETARG_CSTRING(0)));
}

Datum
DirectFunctionCall1Coll(PGFunction function, Oid collation, Datum argument)
{
	return DirectFunctionCall3Coll(function, collation, argument, (Datum) 0, (Datum) 0);
}

Datum
DirectFunctionCall3Coll(PGFunction function, Oid collation, Datum first, Datum second, Datum third)
{
	LOCAL_FCINFO(fcinfo, 3);

	InitFunctionCallInfoData(*fcinfo, NULL, 3, collation, NULL, NULL);
	fcinfo->args[0].value = first;
	fcinfo->args[1].value = second;
	fcinfo->args[2].value = third;
	for (int i = 0; i < 3; i++)
		fcinfo->args[i].isnull = false;
	return function(fcinfo);
}

/*
 * JSON text to jsonb; NULL where the text is none.  Numbers are taken without
 * exponent.
 */

typedef struct JsonText
{
	const char *at;
	const char *end;
	bool		bad;
} JsonText;

static void read_json_value(JsonText *json, JsonbValue *value);

static bool
next_is(JsonText *json, char wanted)
{
	while (json->at < json->end && strchr(" \t\r\n", *json->at) != NULL && *json->at != '\0')
		json->at++;
	if (json->at >= json->end || *json->at != wanted)
		return false;
	json->at++;
	return true;
}

static void
take(JsonText *json, char wanted)
{
	if (!next_is(json, wanted))
		json->bad = true;
}

static pg_wchar
read_hex(JsonText *json)
{
	pg_wchar	c = 0;

	for (int i = 0; i < 4; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *digit = json->at < json->end && *json->at != '\0' ? strchr(digits, tolower((unsigned char) *json->at)) : NULL;

		if (digit == NULL)
		{
			json->bad = true;
			return 1;
		}
		c = c * 16 + (digit - digits);
		json->at++;
	}
	return c;
}

/* Behind \u; both halves where there are two. */
static pg_wchar
read_unicode(JsonText *json)
{
	pg_wchar	c = read_hex(json);
	pg_wchar	low;

	if (c < 0xD800 || c > 0xDFFF)
		return c;
	if (c > 0xDBFF || json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u')
	{
		json->bad = true;
		return 1;
	}
	json->at += 2;
	low = read_hex(json);
	if (low < 0xDC00 || low > 0xDFFF)
	{
		json->bad = true;
		return 1;
	}
	return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

static void
read_json_string(JsonText *json, JsonbValue *value)
{
	char	   *text = palloc((json->end - json->at) * 2 + 1);
	int			n = 0;

	take(json, '"');
	while (!json->bad && json->at < json->end && *json->at != '"')
	{
		static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
		unsigned char c = *json->at++;

		if (c < 0x20)
			json->bad = true;
		else if (c != '\\')
			text[n++] = c;
		else if (json->at < json->end && *json->at == 'u')
		{
			pg_wchar	code;

			json->at++;
			code = read_unicode(json);
			if (code == 0)
				json->bad = true;	/* jsonb has none */
			unicode_to_utf8(code, (unsigned char *) text + n);
			n += pg_utf_mblen((unsigned char *) text + n);
		}
		else
		{
			c = json->at < json->end ? *json->at++ : 0;
			json->bad = true;
			for (int i = 0; escapes[i]; i += 2)
			{
				if (escapes[i] == c)
				{
					text[n++] = escapes[i + 1];
					json->bad = false;
				}
			}
		}
	}
	if (json->at >= json->end)
		json->bad = true;
	else
		json->at++;
	value->type = jbvString;
	value->val.string.len = n;
	value->val.string.val = memcpy(palloc(n), text, n);
	pfree(text);
}

static int
skip_digits(JsonText *json)
{
	const char *from = json->at;

	while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
		json->at++;
	return json->at - from;
}

static void
read_json_number(JsonText *json, JsonbValue *value)
{
	const char *from = json->at;
	const char *digits;
	char	   *text;

	if (*json->at == '-')
		json->at++;
	digits = json->at;
	if (skip_digits(json) == 0 || (*digits == '0' && json->at - digits > 1))
		json->bad = true;
	if (json->at < json->end && *json->at == '.')
	{
		json->at++;
		if (skip_digits(json) == 0)
			json->bad = true;
	}
	text = pnstrdup(from, json->at - from);
	if (text[0] == '-' && strspn(text + 1, "0.") == strlen(text + 1))
		text++;					/* numeric has no negative zero */
	value->type = jbvNumeric;
	value->val.numeric = (Numeric) text;
}

static bool
read_json_word(JsonText *json, const char *word)
{
	size_t		length = strlen(word);

	if ((size_t) (json->end - json->at) < length || strncmp(json->at, word, length) != 0)
		return false;
	json->at += length;
	return true;
}

static void
read_json_members(JsonText *json, JsonbValue *value, bool object)
{
	Container  *container = new_container(object ? JB_FOBJECT : JB_FARRAY);
	char		close = object ? '}' : ']';

	check_stack_depth();
	set_container(value, container);
	if (next_is(json, close))
		return;
	do
	{
		JsonbValue	key;
		JsonbValue	member;

		if (object)
		{
			(void) next_is(json, '\0');
			read_json_string(json, &key);
			take(json, ':');
		}
		read_json_value(json, &member);
		if (json->bad)
			return;
		append_member(container, object ? &key : NULL, &member);
	} while (next_is(json, ','));
	take(json, close);
	if (object)
		finish_object(container);
}

static void
read_json_value(JsonText *json, JsonbValue *value)
{
	value->type = jbvNull;
	(void) next_is(json, '\0');
	if (json->bad || json->at >= json->end)
		json->bad = true;
	else if (*json->at == '"')
		read_json_string(json, value);
	else if (*json->at == '-' || (*json->at >= '0' && *json->at <= '9'))
		read_json_number(json, value);
	else if (next_is(json, '{'))
		read_json_members(json, value, true);
	else if (next_is(json, '['))
		read_json_members(json, value, false);
	else if (read_json_word(json, "true") || read_json_word(json, "false"))
	{
		value->type = jbvBool;
		value->val.boolean = json->at[-2] == 'u';
	}
	else if (!read_json_word(json, "null"))
		json->bad = true;
}

Jsonb *
fuzz_jsonb(const char *text, Size length)
{
	JsonText	json = {text, text + length, false};
	JsonbValue	value;

	read_json_value(&json, &value);
	if (!json.bad)
		(void) next_is(&json, '\0');
	if (json.bad || json.at < json.end)
		return NULL;
	if (value.type != jbvBinary)
	{
		Container  *container = new_container(JB_FARRAY | JB_FSCALAR);

		append_member(container, NULL, &value);
		set_container(&value, container);
	}
	return as_jsonb((Container *) value.val.binary.data);
}
