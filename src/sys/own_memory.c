/* SPDX-License-Identifier: MIT */
#include "own_memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define SIZE 65536u

_Thread_local unsigned long own_memory_allowance __attribute__((tls_model("initial-exec")));

void (*own_memory_on_use)(void);

static _Alignas(16) char memory[SIZE];
static atomic_uint used;
static _Thread_local bool wanted __attribute__((tls_model("initial-exec")));

bool own_memory_begin(void)
{
	bool was = wanted;

	wanted = true;
	own_memory_allowance = 0;
	return was;
}

void own_memory_end(bool was)
{
	wanted = was;
}

bool own_memory_wanted(void)
{
	return wanted;
}

/* The size is in front of each piece. Zeros, as no piece is used twice. */
void *own_memory_get(size_t size)
{
	size_t whole = (size + 31) / 16 * 16;
	unsigned at = atomic_load(&used);

	if (size > SIZE)
		return NULL;
	/* Taken only where it fits. To take it first and to give it back if it does not would move the end of what
	 * another thread has taken meanwhile, and the next one would get that again. */
	do
		if (at + whole > SIZE)
			return NULL;
	while (!atomic_compare_exchange_weak(&used, &at, at + (unsigned)whole));
	memcpy(memory + at, &size, sizeof size);
	if (own_memory_on_use != NULL)
		own_memory_on_use();
	return memory + at + 16;
}

bool own_memory_has(const void *pointer)
{
	return (uintptr_t)pointer - (uintptr_t)memory < sizeof memory;
}

size_t own_memory_size(const void *pointer)
{
	size_t size;

	memcpy(&size, (const char *)pointer - 16, sizeof size);
	return size;
}
