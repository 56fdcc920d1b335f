/* SPDX-License-Identifier: MIT
 *
 * requests [OPTION...]: how long Redis's clients wait while the server saves. An open loop: request N is due N / rate
 * seconds after the start, whatever has happened to earlier requests, and its latency is the time from then until its
 * answer arrives. If the server (or this client) stands still for 100 ms, all requests that were due in that time are
 * counted, each with its own delay: the measurement has no coordinated omission.
 *
 *   --port P --server PID     the server, on 127.0.0.1; its children are looked up under this PID
 *   --keys N                  the keys are key:0 to key:N-1, as DEBUG POPULATE names them
 *   --value BYTES             of what is written: random bytes
 *   --rate N                  requests a second
 *   --writes PERCENT          that are SET; the others are GET
 *   --connections N           taken in turn; each answers in order
 *   --saves N                 BGSAVE so many times
 *   --before S --after S      seconds without a save before each, and after its child has ended; both 0: each save
 *                             right after the last, as soon as the server has noticed the end of that one's child
 *   --timeline FILE           latencies of the requests due in each slice, and how many were answered in it
 *   --slice MS                how long that is: 20
 *
 * Prints CSV: for each save the windows "before", "save" (from BGSAVE to the end of the child) and "after" (in which a
 * library may settle). A request belongs to the window in which it was due.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "requests.h"
#include "turns.h"

enum { ROOM = 1 << 20, OUTSTANDING = 1 << 18, LONGEST_VALUE = 1 << 16 };
static const double patience_s = 300, together_us = 5000;

struct connection {
	int fd;
	char *out, *in;
	size_t out_from, out_to, in_from, in_to;
	uint32_t *waiting; /* ring buffer of the unanswered requests */
	size_t first, count;
	bool blocked;
};

struct requests_options options = { .value = 1024, .rate = 10000, .writes = 50, .connections = 50, .saves = 1,
	.before_s = 2, .after_s = 2, .slice_ms = 20 };

static struct connection *connections, control;
struct request *requests;
size_t due_count;
double start_us;
static size_t answered, request_room;
static int events;
static char noise[2 * LONGEST_VALUE];
static uint64_t random_state = 1;

void die(const char *what)
{
	fprintf(stderr, "requests: %s: %s\n", what, strerror(errno));
	exit(1);
}

void fail(const char *what, const char *why)
{
	fprintf(stderr, "requests: %s: %s\n", what, why);
	exit(1);
}

double due_us(size_t request)
{
	return start_us + (double)request * 1e6 / (double)options.rate;
}

static void connect_to_server(struct connection *connection)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
	int one = 1;

	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0)
		die("connect");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0 ||
	    epoll_ctl(events, EPOLL_CTL_ADD, connection->fd, &event) != 0)
		die("socket");
	connection->out = malloc(ROOM);
	connection->in = malloc(ROOM);
	connection->waiting = calloc(OUTSTANDING, sizeof *connection->waiting);
	if (connection->out == NULL || connection->in == NULL || connection->waiting == NULL)
		die("memory");
}

static void flush(struct connection *connection)
{
	while (connection->out_from < connection->out_to) {
		ssize_t sent = send(connection->fd, connection->out + connection->out_from,
				    connection->out_to - connection->out_from, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0)
			die("send");
		connection->out_from += (size_t)sent;
	}
	if (connection->out_from == connection->out_to)
		connection->out_from = connection->out_to = 0;
	if (connection->blocked != (connection->out_to > 0)) {
		struct epoll_event event = {
			.events = EPOLLIN | (connection->out_to > 0 ? EPOLLOUT : 0), .data.ptr = connection,
		};
		connection->blocked = connection->out_to > 0;
		if (epoll_ctl(events, EPOLL_CTL_MOD, connection->fd, &event) != 0)
			die("epoll_ctl");
	}
}

static void append(struct connection *connection, const char *bytes, size_t count)
{
	if (connection->out_to + count > ROOM) {
		memmove(connection->out, connection->out + connection->out_from,
			connection->out_to - connection->out_from);
		connection->out_to -= connection->out_from;
		connection->out_from = 0;
	}
	if (connection->out_to + count > ROOM)
		fail("the server", "is so far behind that what is to be sent does not fit");
	memcpy(connection->out + connection->out_to, bytes, count);
	connection->out_to += count;
}

static void send_request(size_t request, double now)
{
	struct connection *connection = &connections[request % options.connections];
	uint64_t number = random_number(&random_state);
	char key[32], head[128];
	size_t key_length = (size_t)snprintf(key, sizeof key, "key:%lu", (unsigned long)(number >> 16) % options.keys);

	if (number % 100 < options.writes) {
		append(connection, head,
		       (size_t)snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%lu\r\n", key_length, key,
					options.value));
		append(connection, noise + number % LONGEST_VALUE, options.value);
		append(connection, "\r\n", 2);
	} else {
		append(connection, head,
		       (size_t)snprintf(head, sizeof head, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", key_length, key));
	}
	if (connection->count == OUTSTANDING)
		fail("the server", "is too far behind");
	connection->waiting[(connection->first + connection->count++) % OUTSTANDING] = (uint32_t)request;
	requests[request].late_us = (float)(now - due_us(request));
	flush(connection);
}

/* The length of the reply at the start of `text`; 0 if it is incomplete. */
static size_t reply_length(const char *text, size_t length)
{
	const char *line_end = memchr(text, '\n', length);
	size_t head, body;

	if (line_end == NULL)
		return 0;
	head = (size_t)(line_end - text) + 1;
	if (text[0] != '$' || text[1] == '-')
		return head;
	body = strtoul(text + 1, NULL, 10) + 2;
	return head + body <= length ? head + body : 0;
}

/* Reads what has arrived. Replies to requests are timed and dropped. */
static void receive(struct connection *connection)
{
	for (;;) {
		ssize_t got;
		double now;
		size_t length;
		if (connection->in_from > 0 && connection->in_to > ROOM / 2) {
			memmove(connection->in, connection->in + connection->in_from,
				connection->in_to - connection->in_from);
			connection->in_to -= connection->in_from;
			connection->in_from = 0;
		}
		got = recv(connection->fd, connection->in + connection->in_to, ROOM - 1 - connection->in_to, 0);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0)
			fail("the server", got == 0 ? "closed the connection" : strerror(errno));
		connection->in_to += (size_t)got;
		connection->in[connection->in_to] = 0;
		if (connection == &control)
			continue;
		now = now_us();
		while ((length = reply_length(connection->in + connection->in_from,
					      connection->in_to - connection->in_from)) > 0) {
			uint32_t request = connection->waiting[connection->first];
			if (connection->count == 0)
				fail("the server", "answers what nobody asked");
			if (connection->in[connection->in_from] == '-')
				fail("the server's answer", connection->in + connection->in_from);
			connection->first = (connection->first + 1) % OUTSTANDING;
			connection->count--;
			requests[request].latency_us = (float)(now - due_us(request));
			answered++;
			connection->in_from += length;
		}
		if (connection->in_from == connection->in_to)
			connection->in_from = connection->in_to = 0;
	}
}

static void handle(int timeout_us)
{
	struct epoll_event ready[64];
	struct timespec timeout = { .tv_nsec = timeout_us * 1000L };
	int count = epoll_pwait2(events, ready, 64, &timeout, NULL);

	if (count < 0 && errno != EINTR)
		die("epoll_pwait2");
	for (int i = 0; i < count; i++) {
		struct connection *connection = ready[i].data.ptr;
		if (ready[i].events & EPOLLOUT)
			flush(connection);
		if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			receive(connection);
	}
}

/* Sends the requests that are due and handles replies, until about the time when the next request is due. */
static void go_on(bool sending)
{
	double now = now_us(), next;

	while (sending && due_us(due_count) <= now) {
		if (due_count == request_room)
			fail("requests", "too many");
		send_request(due_count++, now);
	}
	next = sending ? due_us(due_count) - now_us() : 1000;
	handle(next < 0 ? 0 : next > 1000 ? 1000 : (int)next);
}

/* Sends a command on the control connection, which is not measured. The requests go on meanwhile. The answer is valid
 * until the next command. */
static const char *command(const char *text)
{
	double patience = now_us() + patience_s * 1e6;

	control.in_from = control.in_to = 0;
	append(&control, text, strlen(text));
	append(&control, "\r\n", 2);
	flush(&control);
	while (control.in_to == 0 || reply_length(control.in, control.in_to) == 0) {
		go_on(true);
		if (now_us() > patience)
			fail(text, "no answer");
	}
	return control.in;
}

static double field(const char *info, const char *name)
{
	const char *at = strstr(info, name);

	if (at == NULL)
		fail(name, "is not in INFO");
	return strtod(at + strlen(name), NULL);
}

/* True for the library's keeper, which is also a child of the server but does not end with a save. */
static bool is_keeper(pid_t pid)
{
	char path[96], name[32] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(name, sizeof name, file) == NULL)
		*name = '\0';
	fclose(file);
	return strcmp(name, "odfork-keeper\n") == 0;
}

/* A pidfd of the server's only child; -1 if it has no child any more. */
static int open_child(void)
{
	char path[96], line[4096], *rest = line, *word;
	FILE *file;
	int fd = -1;

	snprintf(path, sizeof path, "/proc/%lu/task/%lu/children", options.server, options.server);
	file = fopen(path, "re");
	if (file == NULL)
		die(path);
	if (fgets(line, sizeof line, file) == NULL)
		*line = '\0';
	fclose(file);
	while (fd < 0 && (word = strsep(&rest, " \n")) != NULL) {
		pid_t pid = (pid_t)strtol(word, NULL, 10);
		if (pid <= 0 || is_keeper(pid))
			continue;
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0 && errno != ESRCH)
			die("pidfd_open");
	}
	return fd;
}

static void run_for(double seconds)
{
	double end = now_us() + seconds * 1e6;

	while (now_us() < end)
		go_on(true);
}

static bool at_once(void)
{
	return options.before_s + options.after_s == 0;
}

static void begin(struct save *this)
{
	double patience = now_us() + patience_s * 1e6;
	const char *answer;

	do {
		this->start_us = now_us();
		answer = command("BGSAVE");
	} while (at_once() && strstr(answer, "in progress") != NULL && this->start_us < patience);
	if (strstr(answer, "started") == NULL)
		fail("BGSAVE", answer);
}

static void save(struct save *this)
{
	struct pollfd child = { .events = POLLIN };
	double saved_before;

	this->before_us = now_us();
	if (!at_once())
		run_for(options.before_s);
	saved_before = strtod(command("LASTSAVE") + 1, NULL);
	begin(this);
	child.fd = open_child();
	while (child.fd >= 0 && poll(&child, 1, 0) == 0) {
		go_on(true);
		if (now_us() > this->start_us + patience_s * 1e6)
			fail("BGSAVE", "does not end");
	}
	this->end_us = now_us();
	if (child.fd >= 0)
		close(child.fd);
	if (!at_once())
		run_for(options.after_s);
	this->after_us = now_us();
	/* LASTSAVE has a resolution of 1 s. It is compared only if saves are more than 1 s apart. */
	if (!at_once() && strtod(command("LASTSAVE") + 1, NULL) <= saved_before)
		fail("BGSAVE", "did not succeed");
	this->fork_us = field(command("INFO stats"), "latest_fork_usec:");
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", 1, 0, 'p' },   { "server", 1, 0, 's' }, { "keys", 1, 0, 'k' },
		{ "value", 1, 0, 'v' },  { "rate", 1, 0, 'r' },   { "writes", 1, 0, 'w' },
		{ "saves", 1, 0, 'n' },  { "before", 1, 0, 'b' }, { "connections", 1, 0, 'c' },
		{ "after", 1, 0, 'a' },  { "timeline", 1, 0, 't' }, { "slice", 1, 0, 'l' }, { 0 },
	};
	unsigned long *numbers[128] = {
		['p'] = &options.port, ['s'] = &options.server, ['k'] = &options.keys,        ['v'] = &options.value,
		['r'] = &options.rate, ['w'] = &options.writes, ['c'] = &options.connections, ['n'] = &options.saves,
		['l'] = &options.slice_ms
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == '?')
			exit(2);
		if (option == 't')
			options.timeline = optarg;
		else if (option == 'b' || option == 'a')
			*(option == 'b' ? &options.before_s : &options.after_s) = strtod(optarg, NULL);
		else
			*numbers[option] = strtoul(optarg, NULL, 10);
	}
	if (options.port == 0 || options.server == 0 || options.keys == 0 || options.value == 0 ||
	    options.value > LONGEST_VALUE || options.rate == 0 || options.connections == 0 || options.slice_ms == 0 ||
	    (!at_once() && options.before_s + options.after_s < 1.5))
		fail("options", "--port, --server and --keys are needed, and a second and a half between saves");
}

int main(int argc, char **argv)
{
	struct save *saves;

	read_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 1);
	/* A real-time priority, so that latencies do not include delays of this process: the child that saves keeps a
	 * CPU busy. */
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 2 }) != 0)
		fprintf(stderr,
			"requests: not privileged to run before others: latencies include this program's own delays\n");
	/* Room for the longest possible run. Only the used part takes memory. */
	request_room = options.rate *
		       (size_t)((double)options.saves * (options.before_s + options.after_s + patience_s));
	if (request_room > UINT32_MAX)
		request_room = UINT32_MAX;
	requests = mmap(NULL, request_room * sizeof *requests, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	saves = calloc(options.saves, sizeof *saves);
	connections = calloc(options.connections, sizeof *connections);
	events = epoll_create1(EPOLL_CLOEXEC);
	if (requests == MAP_FAILED || saves == NULL || connections == NULL || events < 0)
		die("memory");
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (char)random_number(&random_state);
	for (size_t i = 0; i < options.connections; i++)
		connect_to_server(&connections[i]);
	connect_to_server(&control);
	start_us = now_us();
	run_for(0.5);
	for (size_t s = 0; s < options.saves; s++)
		save(&saves[s]);
	for (double patience = now_us() + patience_s * 1e6; answered < due_count;) {
		go_on(false);
		if (now_us() > patience)
			fail("requests", "are without an answer");
	}
	printf("save,window,requests,p50_us,p90_us,p99_us,p999_us,p9999_us,worst_us,late_p999_us,fork_us,save_s\n");
	for (size_t s = 0; s < options.saves; s++) {
		/* Requests that were due just before BGSAVE, and reached the server together with it, wait for it
		 * too. */
		if (!at_once())
			print_window(s, &saves[s], "before", saves[s].before_us, saves[s].start_us - together_us);
		print_window(s, &saves[s], "save", saves[s].start_us - together_us, saves[s].end_us);
		if (!at_once())
			print_window(s, &saves[s], "after", saves[s].end_us, saves[s].after_us);
	}
	if (options.timeline != NULL)
		write_timeline(saves);
	return 0;
}
