/*
 * condition_fuzz.c
 *		libFuzzer target of the condition language: as text, with FUZZ_RECV as a
 *		message of the binary protocol, or with FUZZ_JSON as a rule tree.
 *
 * Whatever is read must be printed, read again as the same bytes, come back the
 * same from a rule tree, be walked, and have every node at the place that is
 * told for it.  Whatever is refused must be
 * refused with an SQLSTATE and a message in valid UTF-8.
 */
#include "postgres.h"

#include "../../src/condition.h"
#include "fmgr.h"
#include "fuzz.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

extern Datum segment_condition_in(PG_FUNCTION_ARGS);
extern Datum segment_condition_send(PG_FUNCTION_ARGS);
extern Datum segment_condition_recv(PG_FUNCTION_ARGS);
extern Datum segment_condition_negate(PG_FUNCTION_ARGS);
extern Datum segment_condition_cmp(PG_FUNCTION_ARGS);
extern Datum segment_condition_to_jsonb(PG_FUNCTION_ARGS);
extern Datum segment_condition_from_jsonb(PG_FUNCTION_ARGS);
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Datum
call(PGFunction function, int nargs, Datum first, Datum second)
{
	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, NULL, nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = first;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = second;
	fcinfo->args[1].isnull = false;
	return function(fcinfo);
}

static void
require(bool holds, const char *law, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", law, text);
	abort();
}

static bool
same(const Condition *left, const Condition *right)
{
	return VARSIZE(left) == VARSIZE(right) && memcmp(left, right, VARSIZE(left)) == 0;
}

/* Each node's text stands where it is said to stand. */
static void
walk(const ConditionNode *node, const char *text, int depth)
{
	if (depth > 8 || strlen(text) > 500)
		return;
	if (node->kind <= CONDITION_FIGURE)
	{
		char	   *own = segment_condition_node_text(node);
		int			position = segment_condition_node_position(node);
		const char *at = text;

		while (--position > 0)
			at += pg_utf_mblen((const unsigned char *) at);
		if (node->kind != CONDITION_FIGURE || node->detail == CONDITION_PLAIN)
			require(strncmp(at, own, strlen(own)) == 0, "a node is not where it is said to be", own);
	}
	for (int i = 0; i < node->nchildren; i++)
	{
		ConditionNode child;

		segment_condition_child(node, i, &child);
		walk(&child, text, depth + 1);
	}
}

static void
check(Condition *condition)
{
	char	   *text = segment_condition_text(condition);
	Condition  *again;
	Condition  *negated;
	ConditionNode root;
	bytea	   *sent;
	StringInfoData message;

	require(pg_encoding_verifymbstr(PG_UTF8, text, strlen(text)) == strlen(text), "printed text is not UTF-8", text);
	again = (Condition *) DatumGetPointer(call(segment_condition_in, 1, CStringGetDatum(text), 0));
	require(same(condition, again), "in(out(c)) is not c", text);
	require(strcmp(segment_condition_text(again), text) == 0, "the canonical text is no fixed point", text);
	require(DatumGetInt32(call(segment_condition_cmp, 2, PointerGetDatum(condition), PointerGetDatum(again))) == 0, "c is not equal to c", text);
	negated = (Condition *) DatumGetPointer(call(segment_condition_negate, 1, PointerGetDatum(condition), 0));
	require(!same(condition, negated), "the negation of c is c", text);
	negated = (Condition *) DatumGetPointer(call(segment_condition_negate, 1, PointerGetDatum(negated), 0));
	require(same(condition, negated), "twice negated c is not c", text);
	again = (Condition *) DatumGetPointer(call(segment_condition_from_jsonb, 1, call(segment_condition_to_jsonb, 1, PointerGetDatum(condition), 0), 0));
	require(same(condition, again), "c as a rule tree is not c", text);
	segment_condition_root(condition, &root);
	walk(&root, text, 0);
	sent = (bytea *) DatumGetPointer(call(segment_condition_send, 1, PointerGetDatum(condition), 0));
	initStringInfo(&message);
	appendBinaryStringInfo(&message, VARDATA(sent), VARSIZE(sent) - VARHDRSZ);
	again = (Condition *) DatumGetPointer(call(segment_condition_recv, 1, PointerGetDatum(&message), 0));
	require(same(condition, again), "recv(send(c)) is not c", text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	volatile bool checking = false;

	fuzz_start();
	if (sigsetjmp(fuzz_unwind, 0) == 0)
	{
		Datum		condition;

#ifdef FUZZ_RECV
		StringInfoData message;

		initStringInfo(&message);
		appendBinaryStringInfo(&message, (const char *) data, size);
		condition = call(segment_condition_recv, 1, PointerGetDatum(&message), 0);
#elif defined(FUZZ_JSON)
		Jsonb	   *tree = NULL;

		if (memchr(data, 0, size) == NULL && pg_encoding_verifymbstr(PG_UTF8, (const char *) data, size) == size)
			tree = fuzz_jsonb((const char *) data, size);
		condition = tree ? call(segment_condition_from_jsonb, 1, JsonbPGetDatum(tree), 0) : (Datum) 0;
#else
		/* the server lets nothing else through */
		if (memchr(data, 0, size) == NULL && pg_encoding_verifymbstr(PG_UTF8, (const char *) data, size) == size)
			condition = call(segment_condition_in, 1, CStringGetDatum(pnstrdup((const char *) data, size)), 0);
		else
			condition = (Datum) 0;
#endif
		checking = true;
		if (condition != (Datum) 0)
			check((Condition *) DatumGetPointer(condition));
	}
	else if (checking && fuzz_sqlstate != ERRCODE_STATEMENT_TOO_COMPLEX)
	{
		fprintf(stderr, "what was read was refused afterwards\n");
		abort();
	}
	fuzz_free_all();
	return 0;
}
