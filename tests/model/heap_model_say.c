/* SPDX-License-Identifier: MIT
 *
 * How the processes of test_heap_model draw, and how they log results and faults.
 */
#include "heap_model.h"

uint64_t mix_path(uint64_t seed, const char *path)
{
	uint64_t value = mix(seed);

	for (const char *c = path; *c != '\0'; c++)
		value = mix(value ^ (unsigned char)*c);
	return value;
}

void draw_from_step(unsigned step)
{
	self.random = mix(mix_path(self.seed, self.path) ^ (uint64_t)step << 8);
}

size_t less(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- The log ----------------------------------------------------------------------------------------------------- */

struct entry *entry(void)
{
	return &board->entries[self.entry];
}

/* Appends to the log. When it is full, further text only changes a hash. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	struct entry *e = entry();
	unsigned used = e->length, room = TEXT_SIZE - 64;
	va_list arguments;
	char text[512];
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (length < 0)
		_exit(97);
	if ((size_t)length >= sizeof text)
		length = sizeof text - 1;
	if (used + (unsigned)length < room) {
		memcpy(e->text + used, text, (size_t)length);
		e->length = used + (unsigned)length;
	} else {
		uint64_t number = 0;
		memcpy(&number, e->text + room, sizeof number);
		for (int i = 0; i < length; i++)
			number = mix(number ^ (unsigned char)text[i]);
		memcpy(e->text + room, &number, sizeof number);
	}
}

unsigned line_start;

void end_line(void)
{
	struct entry *e = entry();

	say("\n");
	if (board->trace)
		dprintf(2, "# %s %s %.*s", board->tested ? "heap " : "plain", self.path, (int)(e->length - line_start),
			e->text + line_start);
	line_start = e->length;
}

/* Ends the process for a failure of the test itself, which is not a result to compare. */
__attribute__((noreturn, format(printf, 1, 2))) void broken(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	say("BROKEN: %s: %s", text, strerror(errno));
	end_line();
	_exit(98);
}

/* Whether the user has excluded an operation, so that other differences show. */
bool is_left_out(const char *what)
{
	const char *at = board->without;
	char name[64];

	for (size_t length; *at != '\0'; at += length + (at[length] == ',')) {
		length = strcspn(at, ",");
		snprintf(name, sizeof name, "%.*s", (int)length, at);
		if (strstr(what, name) != NULL)
			return true;
	}
	return false;
}

const char *error_name(int error)
{
	static char number[16];

	switch (error) {
	case ENOMEM:
		return "ENOMEM";
	case EINVAL:
		return "EINVAL";
	case EFAULT:
		return "EFAULT";
	case EEXIST:
		return "EEXIST";
	case EAGAIN:
		return "EAGAIN";
	case EBUSY:
		return "EBUSY";
	case EACCES:
		return "EACCES";
	case EPERM:
		return "EPERM";
	case EBADF:
		return "EBADF";
	case ENODEV:
		return "ENODEV";
	case EINTR:
		return "EINTR";
	case EOPNOTSUPP:
		return "EOPNOTSUPP";
	default:
		snprintf(number, sizeof number, "error %d", error);
		return number;
	}
}

void say_result(long result)
{
	int error = errno;

	if (result < 0)
		say(" = %s", error_name(error));
	else
		say(" = %ld", result);
	if (result >= 0 && error != NO_ERROR)
		say(" with errno %s", error_name(error));
	board->calls++;
}

int number_of(const struct arena *a)
{
	return (int)(a - self.arenas);
}

/* ---- Faults ------------------------------------------------------------------------------------------------------ */

static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_expected, fault_signal, fault_code;
static void *volatile fault_address;

void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (!fault_expected) {
		say(" UNEXPECTED signal %d code %d", signal, info->si_code);
		if (board->trace)
			dprintf(2, "# %s: signal %d at %p\n", self.path, signal, info->si_addr);
		end_line();
		_exit(99);
	}
	fault_signal = signal;
	fault_code = info->si_code;
	fault_address = info->si_addr;
	fault_expected = 0;
	siglongjmp(fault_jump, 1);
}

/* Each access is in a frame of its own, to which the handler jumps back. False: the access has faulted. */

__attribute__((noinline)) bool can_read(const unsigned char *from, unsigned char *to, size_t length)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*to = *(const volatile unsigned char *)from; /* so that the first access faults here */
	memcpy(to, from, length);
	fault_expected = 0;
	return true;
}

__attribute__((noinline)) bool can_fill(unsigned char *to, unsigned char byte, size_t length)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*(volatile unsigned char *)to = byte;
	memset(to, byte, length);
	fault_expected = 0;
	return true;
}

/* One instruction that reads and writes. */
__attribute__((noinline)) bool can_add(unsigned char *to, uint64_t value, uint64_t *was)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*was = __atomic_fetch_add((uint64_t *)(void *)to, value, __ATOMIC_RELAXED);
	fault_expected = 0;
	return true;
}

__attribute__((noinline)) bool can_execute(unsigned char *code)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	((void (*)(void))(uintptr_t)code)();
	fault_expected = 0;
	return true;
}

/* A short name for the fault; "!" says that the kernel reported a wrong address. Unmapped memory within a region is
 * mapped without access. System calls see no difference, but a signal handler does (SEGV_ACCERR). */
void fault_token(char *token, const void *address, bool hole)
{
	const char *name;

	if (hole && fault_signal == SIGSEGV && (fault_code == SEGV_MAPERR || fault_code == SEGV_ACCERR))
		name = "hole";
	else if (fault_signal == SIGSEGV && fault_code == SEGV_MAPERR)
		name = "maperr";
	else if (fault_signal == SIGSEGV && fault_code == SEGV_ACCERR)
		name = "accerr";
	else if (fault_signal == SIGSEGV && fault_code == 4)
		name = "pkuerr";
	else if (fault_signal == SIGBUS && fault_code == BUS_ADRERR)
		name = "bus";
	else
		name = NULL;
	if (name != NULL)
		snprintf(token, TOKEN, "%s%s", name, fault_address == address ? "" : "!");
	else
		snprintf(token, TOKEN, "s%dc%d%s", (int)fault_signal, (int)fault_code,
			 fault_address == address ? "" : "!");
	board->faults++;
}

/* ---- A row of tokens, one for each page, with runs of equal ones merged ------------------------------------------ */

static struct {
	char last[TOKEN];
	size_t run, shown;
	uint64_t rest;
} row;

static void row_flush(void)
{
	char text[TOKEN + 24];

	if (row.run == 0)
		return;
	if (row.run == 1)
		snprintf(text, sizeof text, " %s", row.last);
	else
		snprintf(text, sizeof text, " %s*%zu", row.last, row.run);
	if (row.shown++ < 48)
		say("%s", text);
	else
		for (const char *c = text; *c != '\0'; c++)
			row.rest = mix(row.rest ^ (unsigned char)*c);
	row.run = 0;
}

void row_begin(void)
{
	row.run = row.shown = 0;
	row.rest = 0;
}

void row_add(const char *token)
{
	if (row.run > 0 && strcmp(token, row.last) == 0) {
		row.run++;
		return;
	}
	row_flush();
	memcpy(row.last, token, strlen(token) + 1);
	row.run = 1;
}

void row_end(void)
{
	row_flush();
	if (row.rest != 0)
		say(" +%zu:%08" PRIx32, row.shown - 48, (uint32_t)row.rest);
}
