/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sys/error_name.h"
#include "cli.h"
#include "full_gain.h"
#include "json.h"
#include "odfork.h"
#include "verify.h"

static void print_for_people(const odf_capabilities *c)
{
	printf("libodfork %s on Linux %s, pages of %zu bytes\n\n", odf_version(), c->kernel_release, c->page_size);
	printf("strategy     available\n");
	for (odf_strategy s = ODF_STRATEGY_NONE + 1; s < ODF_STRATEGY_COUNT; s++) {
		bool available = c->strategy[s] == ODF_REASON_NONE;
		printf("%-12s %s%s\n", odf_strategy_name(s), available ? "yes" : "no    ",
		       available ? "" : odf_reason_text(c->strategy[s]));
	}
	printf("\nprobe        answer\n");
	for (odf_probe p = 0; p < ODF_PROBE_COUNT; p++) {
		int error;
		odf_answer answer = odf_probe_get(p, &error);
		const char *word = answer == ODF_ANSWER_YES ? "yes" : answer == ODF_ANSWER_NO ? "no" : "?";
		const char *name = error_name(error);
		printf("%-12s %-4s  %s%s%s%s%s%s\n", odf_probe_name(p), word, odf_probe_text(p), error != 0 ? " (" : "",
		       error != 0 && name != NULL ? name : "", error != 0 && name != NULL ? ": " : "",
		       error != 0 ? strerror(error) : "", error != 0 ? ")" : "");
	}
}

static void print_json(const odf_capabilities *c, const struct full_gain *gain, const struct verification *verification)
{
	printf("{\"version\":\"%s\",\"kernel_release\":", odf_version());
	json_print_string(c->kernel_release);
	printf(",\"page_size\":%zu,\"kernel_interface\":\"%s\",\"uffd_kernel_faults\":%s,\"strategies\":{",
	       c->page_size, odf_kernel_interface_name(c->kernel_interface),
	       c->uffd_kernel_faults == ODF_ANSWER_YES ? "true" : "false");
	for (odf_strategy s = ODF_STRATEGY_NONE + 1; s < ODF_STRATEGY_COUNT; s++) {
		printf("%s\"%s\":{\"available\":%s,\"reason\":\"%s\",\"text\":", s == ODF_STRATEGY_NONE + 1 ? "" : ",",
		       odf_strategy_name(s), c->strategy[s] == ODF_REASON_NONE ? "true" : "false",
		       odf_reason_name(c->strategy[s]));
		json_print_string(odf_reason_text(c->strategy[s]));
		printf("}");
	}
	printf("},\"probes\":{");
	for (odf_probe p = 0; p < ODF_PROBE_COUNT; p++) {
		int error;
		odf_answer answer = odf_probe_get(p, &error);
		printf("%s\"%s\":{\"answer\":%s,\"error\":%d}", p == 0 ? "" : ",", odf_probe_name(p),
		       answer == ODF_ANSWER_YES  ? "true"
		       : answer == ODF_ANSWER_NO ? "false"
						 : "null",
		       error);
	}
	printf("}");
	full_gain_print_json(gain);
	if (verification != NULL)
		print_verification_json(verification);
	printf("}\n");
}

static int probe_command(int argc, char **argv)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	struct verification verification;
	struct full_gain gain;
	bool json = false, verified = false;
	int error;

	for (int i = 1; i < argc; i++) {
		if (is_help(argv[i]))
			return help("probe", argv[i]);
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--verify") == 0)
			verified = true;
		else
			return option_error(&command_probe, argv[i]);
	}
	if (verified) /* first: its result becomes part of the capabilities */
		verify(&verification);
	error = odf_capabilities_get(&capabilities);
	if (error != 0) {
		fprintf(stderr, "odfork: probe: %s\n", strerror(error));
		return EXIT_OWN;
	}
	gain = full_gain_ask(&capabilities);
	if (json) {
		print_json(&capabilities, &gain, verified ? &verification : NULL);
	} else {
		print_for_people(&capabilities);
		full_gain_print(&gain);
		if (verified)
			print_verification(&verification);
	}
	return EXIT_SUCCESS;
}

const struct command command_probe = {
	.name = "probe",
	.run = probe_command,
	.usage = "  odfork probe [--json] [--verify]   what this machine offers, and why not the rest\n"
		 "      --verify       tries out the kernel's on-demand fork, and measures forks\n",
};
