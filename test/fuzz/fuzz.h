/*
 * fuzz.h
 *		Between the shim and the fuzz targets.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "postgres.h"

#include <setjmp.h>

extern sigjmp_buf fuzz_unwind;
extern int	fuzz_sqlstate;

extern void fuzz_start(void);
extern void fuzz_free_all(void);

#endif							/* FUZZ_H */
