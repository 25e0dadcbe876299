/*
 * fuzz.h
 *		Between the shim and the fuzz targets.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "postgres.h"

#include <setjmp.h>

#include "utils/jsonb.h"

extern sigjmp_buf fuzz_unwind;
extern int	fuzz_sqlstate;

extern void fuzz_start(void);
extern void fuzz_free_all(void);
extern Jsonb *fuzz_jsonb(const char *text, Size length);

#endif							/* FUZZ_H */
