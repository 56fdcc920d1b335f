/* SPDX-License-Identifier: MIT
 *
 * The choice of a strategy, by table: each row is a request and a machine, with the expected strategy and reasons.
 */
#include "../../src/strategy/strategy.h"
#include "../support/support.h"

enum {
	K = ODF_STRATEGY_KERNEL, R = ODF_STRATEGY_REGION, F = ODF_STRATEGY_FORK, V = ODF_STRATEGY_VFORK,
	P = ODF_STRATEGY_POSIX_SPAWN,
};
#define A(s) ODF_ALLOW(s)
#define BIG ((size_t)1 << 30)

static const struct {
	const char *what;
	struct strategy_request request;
	struct strategy_capabilities capabilities;
	struct strategy_facts facts;
	odf_strategy strategy;
	odf_reason first, second, third; /* in the order for this kind of request */
} rows[] = {
	{ "fork on a stock kernel", { 0 }, { .kernel = ODF_REASON_KERNEL_NOT_OFFERED }, { 0 }, ODF_STRATEGY_FORK,
	  ODF_REASON_KERNEL_NOT_OFFERED, ODF_REASON_NO_REGION, ODF_REASON_CHOSEN },
	{ "fork, big, kernel offers but is not verified", { 0 }, { 0 }, { .resident_bytes = BIG }, ODF_STRATEGY_FORK,
	  ODF_REASON_KERNEL_NOT_VERIFIED, ODF_REASON_NO_REGION, ODF_REASON_CHOSEN },
	{ "fork, big, kernel verified", { 0 }, { .kernel_verified = true }, { .resident_bytes = BIG },
	  ODF_STRATEGY_KERNEL,
	  ODF_REASON_CHOSEN, ODF_REASON_NO_REGION, ODF_REASON_BETTER_CHOSEN },
	{ "fork, small, kernel verified", { 0 }, { .kernel_verified = true }, { .resident_bytes = 1 << 20 },
	  ODF_STRATEGY_FORK,
	  ODF_REASON_TOO_SMALL, ODF_REASON_NO_REGION, ODF_REASON_CHOSEN },
	{ "fork, just big enough", { 0 }, { .kernel_verified = true },
	  { .resident_bytes = STRATEGY_KERNEL_GAINS_BYTES },
	  ODF_STRATEGY_KERNEL, ODF_REASON_CHOSEN, ODF_REASON_NO_REGION, ODF_REASON_BETTER_CHOSEN },
	{ "kernel by name, not verified, fork allowed", { .allow = A(K) | A(F) }, { 0 }, { .resident_bytes = BIG },
	  ODF_STRATEGY_KERNEL,
	  ODF_REASON_CHOSEN, ODF_REASON_NOT_ALLOWED, ODF_REASON_BETTER_CHOSEN },
	{ "kernel by name, small, fork allowed", { .allow = A(K) | A(F) }, { 0 }, { .resident_bytes = 4096 },
	  ODF_STRATEGY_FORK,
	  ODF_REASON_TOO_SMALL, ODF_REASON_NOT_ALLOWED, ODF_REASON_CHOSEN },
	{ "kernel alone, small", { .allow = A(K) }, { 0 }, { .resident_bytes = 4096 }, ODF_STRATEGY_KERNEL,
	  ODF_REASON_CHOSEN,
	  ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED },
	{ "kernel alone, stock kernel", { .allow = A(K) }, { .kernel = ODF_REASON_KERNEL_NOT_OFFERED }, { 0 },
	  ODF_STRATEGY_NONE,
	  ODF_REASON_KERNEL_NOT_OFFERED, ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED },
	{ "kernel alone, not writable", { .allow = A(K) }, { .kernel = ODF_REASON_KERNEL_NOT_WRITABLE }, { 0 },
	  ODF_STRATEGY_NONE,
	  ODF_REASON_KERNEL_NOT_WRITABLE, ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED },
	{ "fork, big, seen to lose data", { 0 }, { .kernel_doubt = ODF_REASON_KERNEL_LOSES_DISCARDS },
	  { .resident_bytes = BIG }, ODF_STRATEGY_FORK,
	  ODF_REASON_KERNEL_LOSES_DISCARDS, ODF_REASON_NO_REGION, ODF_REASON_CHOSEN },
	{ "kernel by name, seen to lose data", { .allow = A(K) | A(F) },
	  { .kernel_doubt = ODF_REASON_KERNEL_LOSES_DISCARDS }, { .resident_bytes = BIG },
	  ODF_STRATEGY_KERNEL, ODF_REASON_CHOSEN, ODF_REASON_NOT_ALLOWED, ODF_REASON_BETTER_CHOSEN },
	{ "kernel by name, without effect", { .allow = A(K) | A(F) }, { .kernel_doubt = ODF_REASON_KERNEL_NO_EFFECT },
	  { .resident_bytes = BIG },
	  ODF_STRATEGY_FORK, ODF_REASON_KERNEL_NO_EFFECT, ODF_REASON_NOT_ALLOWED, ODF_REASON_CHOSEN },
	{ "kernel alone, without effect", { .allow = A(K) }, { .kernel_doubt = ODF_REASON_KERNEL_NO_EFFECT },
	  { .resident_bytes = BIG },
	  ODF_STRATEGY_NONE, ODF_REASON_KERNEL_NO_EFFECT, ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED },
	{ "kernel verified, with regions", { 0 }, { .kernel_verified = true },
	  { .resident_bytes = BIG, .region_bytes = 1 }, ODF_STRATEGY_KERNEL,
	  ODF_REASON_CHOSEN, ODF_REASON_BETTER_CHOSEN, ODF_REASON_BETTER_CHOSEN },
	{ "kernel by name, not verified, with regions", { .allow = A(K) | A(R) }, { 0 },
	  { .resident_bytes = BIG, .region_bytes = 1 },
	  ODF_STRATEGY_REGION, ODF_REASON_KERNEL_REGIONS, ODF_REASON_CHOSEN, ODF_REASON_NOT_ALLOWED },
	{ "kernel by name, verified, with regions", { .allow = A(K) | A(R) }, { .kernel_verified = true },
	  { .resident_bytes = BIG, .region_bytes = 1 },
	  ODF_STRATEGY_KERNEL, ODF_REASON_CHOSEN, ODF_REASON_BETTER_CHOSEN, ODF_REASON_NOT_ALLOWED },
	{ "fork with regions", { 0 }, { .kernel = ODF_REASON_KERNEL_NOT_OFFERED }, { .region_bytes = 1 },
	  ODF_STRATEGY_REGION,
	  ODF_REASON_KERNEL_NOT_OFFERED, ODF_REASON_CHOSEN, ODF_REASON_BETTER_CHOSEN },
	{ "spawn with what fork cannot", { .spawn = true, .fork_lacks = ODF_REASON_CLONE_FLAG,
	    .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { 0 }, { 0 }, ODF_STRATEGY_VFORK,
	  ODF_REASON_CHOSEN, ODF_REASON_LIBC_NO_OPTION, ODF_REASON_CLONE_FLAG },
	{ "spawn with what fork cannot, memory not shared", { .spawn = true, .fork_lacks = ODF_REASON_CLONE_FLAG,
	    .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { .clone_vm = ODF_REASON_CLONE_VM_FAKE }, { 0 },
	  ODF_STRATEGY_NONE, ODF_REASON_CLONE_VM_FAKE, ODF_REASON_LIBC_NO_OPTION, ODF_REASON_CLONE_FLAG },
	{ "fork alone", { .allow = A(F) }, { .kernel_verified = true }, { .resident_bytes = BIG, .region_bytes = 1 },
	  ODF_STRATEGY_FORK,
	  ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED, ODF_REASON_CHOSEN },
	{ "region alone, none there", { .allow = A(R) }, { 0 }, { 0 }, ODF_STRATEGY_NONE, ODF_REASON_NOT_ALLOWED,
	  ODF_REASON_NO_REGION,
	  ODF_REASON_NOT_ALLOWED },

	{ "simple spawn", { .spawn = true }, { 0 }, { 0 }, ODF_STRATEGY_VFORK, ODF_REASON_CHOSEN,
	  ODF_REASON_BETTER_CHOSEN,
	  ODF_REASON_BETTER_CHOSEN },
	{ "spawn that libc cannot express", { .spawn = true, .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { 0 }, { 0 },
	  ODF_STRATEGY_VFORK,
	  ODF_REASON_CHOSEN, ODF_REASON_LIBC_NO_OPTION, ODF_REASON_BETTER_CHOSEN },
	{ "libc or fork", { .spawn = true, .allow = A(P) | A(F) }, { 0 }, { 0 }, ODF_STRATEGY_POSIX_SPAWN,
	  ODF_REASON_NOT_ALLOWED,
	  ODF_REASON_CHOSEN, ODF_REASON_BETTER_CHOSEN },
	{ "libc or fork, not expressible",
	  { .spawn = true, .allow = A(P) | A(F), .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { 0 }, { 0 },
	  ODF_STRATEGY_FORK, ODF_REASON_NOT_ALLOWED, ODF_REASON_LIBC_NO_OPTION, ODF_REASON_CHOSEN },
	{ "spawn with pre_exec", { .spawn = true, .pre_exec = true, .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { 0 },
	  { 0 },
	  ODF_STRATEGY_FORK, ODF_REASON_PRE_EXEC, ODF_REASON_PRE_EXEC, ODF_REASON_CHOSEN },
	{ "pre_exec, fork forbidden", { .spawn = true, .pre_exec = true, .allow = A(V) | A(P) }, { 0 }, { 0 },
	  ODF_STRATEGY_NONE,
	  ODF_REASON_PRE_EXEC, ODF_REASON_PRE_EXEC, ODF_REASON_NOT_ALLOWED },
	{ "spawn where CLONE_VM is fake", { .spawn = true }, { .clone_vm = ODF_REASON_CLONE_VM_FAKE }, { 0 },
	  ODF_STRATEGY_FORK,
	  ODF_REASON_CLONE_VM_FAKE, ODF_REASON_CLONE_VM_FAKE, ODF_REASON_CHOSEN },
	{ "the same, fork forbidden", { .spawn = true, .allow = A(V) }, { .clone_vm = ODF_REASON_CLONE_VM_FAKE }, { 0 },
	  ODF_STRATEGY_NONE, ODF_REASON_CLONE_VM_FAKE, ODF_REASON_NOT_ALLOWED, ODF_REASON_NOT_ALLOWED },
	{ "vfork alone", { .spawn = true, .allow = A(V) }, { 0 }, { 0 }, ODF_STRATEGY_VFORK, ODF_REASON_CHOSEN,
	  ODF_REASON_NOT_ALLOWED,
	  ODF_REASON_NOT_ALLOWED },
	{ "fork alone for a spawn", { .spawn = true, .allow = A(F) }, { 0 }, { 0 }, ODF_STRATEGY_FORK,
	  ODF_REASON_NOT_ALLOWED,
	  ODF_REASON_NOT_ALLOWED, ODF_REASON_CHOSEN },
	{ "posix_spawn alone, not expressible",
	  { .spawn = true, .allow = A(P), .libc_lacks = ODF_REASON_LIBC_NO_OPTION }, { 0 }, { 0 }, ODF_STRATEGY_NONE,
	  ODF_REASON_NOT_ALLOWED, ODF_REASON_LIBC_NO_OPTION, ODF_REASON_NOT_ALLOWED },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* after the pool */
		const odf_strategy *order = strategy_order(rows[i].request.spawn) + rows[i].request.spawn;
		struct strategy_choice choice = strategy_choose(&rows[i].request, &rows[i].capabilities,
								&rows[i].facts);
		if (choice.strategy != rows[i].strategy || choice.reason[order[0]] != rows[i].first ||
		    choice.reason[order[1]] != rows[i].second || choice.reason[order[2]] != rows[i].third)
			fail_msg("%s: %s (%s, %s, %s)", rows[i].what, odf_strategy_name(choice.strategy),
				 odf_reason_name(choice.reason[order[0]]), odf_reason_name(choice.reason[order[1]]),
				 odf_reason_name(choice.reason[order[2]]));
	}
}

/* For any request: the chosen strategy was allowed, one strategy or none is CHOSEN, and each strategy of this kind has
 * a reason. */
static void test_every_combination(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 1u << 14; bits++) {
		bool spawn = bits & 1;
		struct strategy_request request = {
			.spawn = spawn,
			.allow = (bits >> 1 & 0x7f) << 1,
			.pre_exec = bits >> 8 & 1,
			.libc_lacks = bits >> 9 & 1 ? ODF_REASON_LIBC_NO_OPTION : ODF_REASON_NONE,
		};
		struct strategy_capabilities capabilities = {
			.kernel = bits >> 10 & 1 ? ODF_REASON_KERNEL_NOT_OFFERED : ODF_REASON_NONE,
			.kernel_verified = bits >> 11 & 1,
			.clone_vm = bits >> 12 & 1 ? ODF_REASON_CLONE_REFUSED : ODF_REASON_NONE,
		};
		struct strategy_facts facts = { .resident_bytes = bits >> 13 & 1 ? BIG : 0 };
		struct strategy_choice choice = strategy_choose(&request, &capabilities, &facts);
		unsigned chosen = 0;

		if (choice.strategy != ODF_STRATEGY_NONE)
			assert_true(request.allow == 0 || (request.allow & A(choice.strategy)));
		for (odf_strategy s = ODF_STRATEGY_NONE + 1; s < ODF_STRATEGY_COUNT; s++) {
			assert_int_not_equal(choice.reason[s], ODF_REASON_NONE);
			chosen += choice.reason[s] == ODF_REASON_CHOSEN;
		}
		assert_int_equal(chosen, choice.strategy != ODF_STRATEGY_NONE);
		if (choice.strategy == ODF_STRATEGY_KERNEL && request.allow == 0)
			assert_true(capabilities.kernel_verified);
		if (request.pre_exec && spawn)
			assert_true(choice.strategy == ODF_STRATEGY_FORK || choice.strategy == ODF_STRATEGY_NONE);
	}
}

/* A pool is used, unless it is not allowed, or the request or the machine prevents it. */
static void test_pool(void **state)
{
	static const struct {
		const char *what;
		struct strategy_request request;
		struct strategy_capabilities capabilities;
		odf_strategy strategy;
		odf_reason pool;
	} pools[] = {
		{ "given", { .spawn = true, .pool = true }, { 0 }, ODF_STRATEGY_POOL, ODF_REASON_CHOSEN },
		{ "not given", { .spawn = true }, { 0 }, ODF_STRATEGY_VFORK, ODF_REASON_NO_POOL },
		{ "forbidden", { .spawn = true, .pool = true, .allow = A(V) }, { 0 }, ODF_STRATEGY_VFORK,
		  ODF_REASON_NOT_ALLOWED },
		{ "demanded", { .spawn = true, .pool = true, .allow = A(ODF_STRATEGY_POOL) }, { 0 }, ODF_STRATEGY_POOL,
		  ODF_REASON_CHOSEN },
		{ "demanded and not given", { .spawn = true, .allow = A(ODF_STRATEGY_POOL) }, { 0 }, ODF_STRATEGY_NONE,
		  ODF_REASON_NO_POOL },
		{ "with pre_exec", { .spawn = true, .pool = true, .pre_exec = true }, { 0 }, ODF_STRATEGY_FORK,
		  ODF_REASON_PRE_EXEC },
		{ "where no memory can be shared", { .spawn = true, .pool = true },
		  { .clone_vm = ODF_REASON_CLONE_REFUSED }, ODF_STRATEGY_FORK,
		  ODF_REASON_CLONE_REFUSED },
		{ "a fork", { .pool = true }, { .kernel = ODF_REASON_KERNEL_NOT_OFFERED }, ODF_STRATEGY_FORK,
		  ODF_REASON_RETURNS_TWICE },
	};
	struct strategy_facts facts = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
		struct strategy_choice choice = strategy_choose(&pools[i].request, &pools[i].capabilities, &facts);
		if (choice.strategy != pools[i].strategy || choice.reason[ODF_STRATEGY_POOL] != pools[i].pool)
			fail_msg("pool %s: %s (%s)", pools[i].what, odf_strategy_name(choice.strategy),
				 odf_reason_name(choice.reason[ODF_STRATEGY_POOL]));
	}
}

static void test_retract(void **state)
{
	struct strategy_request request = { .spawn = true };
	struct strategy_capabilities capabilities = { 0 };
	struct strategy_facts facts = { 0 };
	struct strategy_choice choice = strategy_choose(&request, &capabilities, &facts);

	(void)state;
	strategy_retract(&choice, true, ODF_REASON_CLONE_REFUSED);
	assert_int_equal(choice.strategy, ODF_STRATEGY_POSIX_SPAWN);
	strategy_retract(&choice, true, ODF_REASON_CLONE_REFUSED);
	assert_int_equal(choice.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(choice.reason[ODF_STRATEGY_VFORK], ODF_REASON_CLONE_REFUSED);
	assert_int_equal(choice.reason[ODF_STRATEGY_FORK], ODF_REASON_CHOSEN);
	strategy_retract(&choice, true, ODF_REASON_CLONE_REFUSED);
	assert_int_equal(choice.strategy, ODF_STRATEGY_NONE);
}

/* The objection to a strategy that was used because it was named. */
static void test_despite(void **state)
{
	struct strategy_request request = { .allow = A(K) | A(F) };
	struct strategy_capabilities capabilities = { .kernel_doubt = ODF_REASON_KERNEL_LOSES_NEIGHBORS };
	struct strategy_facts facts = { .resident_bytes = BIG };
	struct strategy_choice choice = strategy_choose(&request, &capabilities, &facts);

	(void)state;
	assert_int_equal(choice.despite, ODF_REASON_KERNEL_LOSES_NEIGHBORS);
	strategy_retract(&choice, false, ODF_REASON_KERNEL_BUSY);
	assert_int_equal(choice.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(choice.despite, ODF_REASON_NONE);
	capabilities = (struct strategy_capabilities){ 0 };
	assert_int_equal(strategy_choose(&request, &capabilities, &facts).despite, ODF_REASON_KERNEL_NOT_VERIFIED);
	capabilities.kernel_verified = true;
	assert_int_equal(strategy_choose(&request, &capabilities, &facts).despite, ODF_REASON_NONE);
	capabilities.kernel_verified = false;
	facts.resident_bytes = 0;
	assert_int_equal(strategy_choose(&request, &capabilities, &facts).despite, ODF_REASON_NONE);
}

/* A switch that is on decides, whatever was requested and whatever the size: any other report would be false. */
static void test_is_on(void **state)
{
	struct strategy_capabilities capabilities = { .kernel_doubt = ODF_REASON_KERNEL_LOSES_DISCARDS };
	struct strategy_facts facts = { .kernel_is_on = true };

	(void)state;
	for (unsigned allow = 0; allow <= STRATEGY_FORK_KINDS; allow++) {
		struct strategy_request request = { .allow = allow & STRATEGY_FORK_KINDS };
		struct strategy_choice choice = strategy_choose(&request, &capabilities, &facts);
		assert_int_equal(choice.strategy, ODF_STRATEGY_KERNEL);
		assert_int_equal(choice.reason[ODF_STRATEGY_KERNEL], ODF_REASON_CHOSEN);
		assert_int_equal(choice.despite, ODF_REASON_KERNEL_LOSES_DISCARDS);
		assert_int_equal(choice.reason[ODF_STRATEGY_FORK],
				 request.allow == 0 || (request.allow & ODF_ALLOW(ODF_STRATEGY_FORK))
					 ? ODF_REASON_BETTER_CHOSEN
					 : ODF_REASON_NOT_ALLOWED);
	}
	{
		struct strategy_request request = { 0 };
		capabilities.kernel_verified = true;
		assert_int_equal(strategy_choose(&request, &capabilities, &facts).despite, ODF_REASON_NONE);
		/* A switch without effect is not on; and a spawn shares page tables anyway. */
		capabilities = (struct strategy_capabilities){ .kernel_doubt = ODF_REASON_KERNEL_NO_EFFECT };
		assert_int_equal(strategy_choose(&request, &capabilities, &facts).strategy, ODF_STRATEGY_FORK);
		request.spawn = true;
		assert_int_equal(strategy_choose(&request, &capabilities, &facts).strategy, ODF_STRATEGY_VFORK);
	}
}

/* Each name exists, and only once. */
static void test_names(void **state)
{
	(void)state;
	for (int a = 0; a < ODF_REASON_COUNT; a++) {
		assert_string_not_equal(odf_reason_name((odf_reason)a), "unknown");
		assert_string_not_equal(odf_reason_text((odf_reason)a), "");
		for (int b = 0; b < a; b++)
			assert_string_not_equal(odf_reason_name((odf_reason)a), odf_reason_name((odf_reason)b));
	}
	for (int a = 0; a < ODF_STEP_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(odf_step_name((odf_step)a), odf_step_name((odf_step)b));
	for (int a = 0; a < ODF_STRATEGY_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(odf_strategy_name((odf_strategy)a), odf_strategy_name((odf_strategy)b));
	for (int a = 0; a < ODF_KERNEL_CHECK_COUNT; a++) {
		assert_string_not_equal(odf_kernel_check_text((odf_kernel_check)a), "");
		for (int b = 0; b < a; b++)
			assert_string_not_equal(odf_kernel_check_name((odf_kernel_check)a),
						odf_kernel_check_name((odf_kernel_check)b));
	}
	for (int a = 0; a < ODF_KERNEL_INTERFACE_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(odf_kernel_interface_name((odf_kernel_interface)a),
						odf_kernel_interface_name((odf_kernel_interface)b));
	assert_string_equal(odf_kernel_check_name(ODF_KERNEL_CHECK_COUNT), "unknown");
	assert_string_equal(odf_kernel_check_text((odf_kernel_check)-1), "unknown");
	assert_string_equal(odf_kernel_interface_name(ODF_KERNEL_INTERFACE_COUNT), "unknown");
	assert_string_equal(odf_strategy_name((odf_strategy)-1), "unknown");
	assert_string_equal(odf_strategy_name(ODF_STRATEGY_COUNT), "unknown");
	assert_string_equal(odf_step_name(ODF_STEP_COUNT), "unknown");
	assert_string_equal(odf_reason_name(ODF_REASON_COUNT), "unknown");
	assert_string_equal(odf_reason_text((odf_reason)-1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_every_combination),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_retract),
		cmocka_unit_test(test_despite),
		cmocka_unit_test(test_is_on),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests_name("strategy", tests, NULL, NULL);
}
