/*
 * shim.c
 *		What the condition language needs of a server, for fuzzing without one.
 *
 * Every palloc is a malloc of its own, so that the address sanitizer sees each
 * byte too far; an error unwinds to the fuzz target, which frees them all.
 */
#include "postgres.h"

#include <setjmp.h>

#include "fuzz.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

sigjmp_buf	fuzz_unwind;
int			fuzz_sqlstate;

volatile sig_atomic_t InterruptPending = false;

void
ProcessInterrupts(void)
{
}

/*
 * Memory
 */

typedef struct Chunk
{
	struct Chunk *next;
	struct Chunk **previous;
	size_t		size;
	size_t		filler;
} Chunk;

static Chunk *chunks = NULL;

static void *
chunk_alloc(Size size)
{
	Chunk	   *chunk;

	if (size > MaxAllocSize)
		abort();
	chunk = malloc(sizeof(Chunk) + size);
	if (chunk == NULL)
		abort();
	chunk->size = size;
	chunk->next = chunks;
	chunk->previous = &chunks;
	if (chunks)
		chunks->previous = &chunk->next;
	chunks = chunk;
	return chunk + 1;
}

void *
palloc(Size size)
{
	void	   *pointer = chunk_alloc(size);

	memset(pointer, 0x7f, size);
	return pointer;
}

void *
palloc0(Size size)
{
	void	   *pointer = chunk_alloc(size);

	memset(pointer, 0, size);
	return pointer;
}

void
pfree(void *pointer)
{
	Chunk	   *chunk = (Chunk *) pointer - 1;

	*chunk->previous = chunk->next;
	if (chunk->next)
		chunk->next->previous = chunk->previous;
	free(chunk);
}

void *
repalloc(void *pointer, Size size)
{
	void	   *moved = palloc(size);
	size_t		old = ((Chunk *) pointer - 1)->size;

	memcpy(moved, pointer, old < size ? old : size);
	pfree(pointer);
	return moved;
}

void
fuzz_free_all(void)
{
	while (chunks)
		pfree(chunks + 1);
}

char *
pnstrdup(const char *text, Size length)
{
	char	   *copy;

	length = strnlen(text, length);
	copy = palloc(length + 1);
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

char *
psprintf(const char *format,...)
{
	char	   *text;
	char	   *copy;
	va_list		args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	copy = pstrdup(text);
	free(text);
	return copy;
}

/*
 * StringInfo: no slack, so that every byte too far is seen
 */

void
initStringInfo(StringInfo str)
{
	str->data = palloc(1);
	str->data[0] = '\0';
	str->len = 0;
	str->maxlen = 1;
	str->cursor = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	if (str->len + needed + 1 <= str->maxlen)
		return;
	str->maxlen = str->len + needed + 1;
	str->data = repalloc(str->data, str->maxlen);
}

void
appendBinaryStringInfo(StringInfo str, const char *data, int length)
{
	enlargeStringInfo(str, length);
	memcpy(str->data + str->len, data, length);
	str->len += length;
	str->data[str->len] = '\0';
}

void
appendStringInfoString(StringInfo str, const char *text)
{
	appendBinaryStringInfo(str, text, strlen(text));
}

void
appendStringInfoChar(StringInfo str, char c)
{
	appendBinaryStringInfo(str, &c, 1);
}

void
appendStringInfo(StringInfo str, const char *format,...)
{
	char	   *text;
	va_list		args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	appendStringInfoString(str, text);
	free(text);
}

/*
 * Errors
 */

static int	elevel_pending;

bool
errstart(int elevel, const char *domain)
{
	elevel_pending = elevel;
	fuzz_sqlstate = ERRCODE_INTERNAL_ERROR;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int sqlstate)
{
	fuzz_sqlstate = sqlstate;
	return 0;
}

/* Messages are formed, to see that it can be done. */
static int
form(const char *format, va_list args)
{
	char	   *text;

	if (vasprintf(&text, format, args) < 0)
		abort();
	if (pg_encoding_verifymbstr(PG_UTF8, text, strlen(text)) != strlen(text))
	{
		fprintf(stderr, "a message is not UTF-8: %s\n", text);
		abort();
	}
	free(text);
	return 0;
}

#define MESSAGE_FUNCTION(name) \
int \
name(const char *format,...) \
{ \
	va_list		args; \
	va_start(args, format); \
	form(format, args); \
	va_end(args); \
	return 0; \
}

MESSAGE_FUNCTION(errmsg)
MESSAGE_FUNCTION(errmsg_internal)
MESSAGE_FUNCTION(errdetail_internal)
MESSAGE_FUNCTION(errhint)

void
errfinish(const char *file, int line, const char *function)
{
	if (elevel_pending >= ERROR)
	{
		if (fuzz_sqlstate == ERRCODE_INTERNAL_ERROR)
		{
			fprintf(stderr, "internal error at %s:%d\n", file, line);
			abort();
		}
		siglongjmp(fuzz_unwind, 1);
	}
}

void
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
{
	fprintf(stderr, "assertion failed: %s, %s:%d\n", condition, file, line);
	abort();
}

/* As deep as the server's two megabytes, in frames that the sanitizer makes larger. */
static char *stack_base = NULL;

void
fuzz_start(void)
{
	char		here;

	stack_base = &here;
}

void
check_stack_depth(void)
{
	char		here;

	if (labs(stack_base - &here) > 4 * 1024 * 1024)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX), errmsg("stack depth limit exceeded")));
}

/*
 * The rest
 */

int
pg_mbstrlen_with_len(const char *text, int limit)
{
	int			count = 0;

	while (limit > 0 && *text)
	{
		int			length = pg_utf_mblen((const unsigned char *) text);

		limit -= length;
		text += length;
		count++;
	}
	return count;
}

unsigned int
pq_getmsgint(StringInfo message, int bytes)
{
	if (bytes != 1 || message->cursor >= message->len)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("insufficient data left in message")));
	return (unsigned char) message->data[message->cursor++];
}

char *
pq_getmsgtext(StringInfo message, int length, int *nbytes)
{
	char	   *text = message->data + message->cursor;

	if (pg_encoding_verifymbstr(PG_UTF8, text, length) != length)
		ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE), errmsg("invalid byte sequence")));
	message->cursor += length;
	*nbytes = length;
	return pnstrdup(text, length);
}

void
pq_begintypsend(StringInfo message)
{
	initStringInfo(message);
	appendBinaryStringInfo(message, "\0\0\0\0", 4);
}

void
pq_sendtext(StringInfo message, const char *text, int length)
{
	appendBinaryStringInfo(message, text, length);
}

bytea *
pq_endtypsend(StringInfo message)
{
	SET_VARSIZE(message->data, message->len);
	return (bytea *) message->data;
}

const int	day_tab[2][13] = {
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
	{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0}
};

/* Days counted one year and month at a time: slow and plain. */
int
date2j(int year, int month, int day)
{
	int			days = 1721425;	/* 1 January of year 1 */

	days += 365 * (year - 1) + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
	for (int m = 1; m < month; m++)
		days += day_tab[isleap(year)][m - 1];
	return days + day - 1 + 1;
}

void
j2date(int julian, int *year, int *month, int *day)
{
	*year = (julian - 1721426) / 366 + 1;
	while (date2j(*year + 1, 1, 1) <= julian)
		(*year)++;
	*month = 1;
	while (*month < 12 && date2j(*year, *month + 1, 1) <= julian)
		(*month)++;
	*day = julian - date2j(*year, *month, 1) + 1;
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

void
deconstruct_array(ArrayType *array, Oid elmtype, int elmlen, bool elmbyval, char elmalign,
				  Datum **elemsp, bool **nullsp, int *nelemsp)
{
	abort();
}
