// SPDX-License-Identifier: MIT
//
// C++: maps of strings and vectors, filled by four threads, whichever malloc is there. With "wait" the threads are
// there at the forks.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace
{
struct part {
	std::map<int, std::string> names;
	std::vector<std::vector<int>> lists;
};
part parts[4];
std::mutex mutex;
std::condition_variable changed;
bool over;

double setting(const char *name, double other)
{
	const char *value = getenv(name);
	return value != nullptr ? atof(value) : other;
}

void fill(part &to, int count)
{
	for (int i = 0; i < count; i++) {
		to.names[i] = std::string(40 + i % 60, char('a' + i % 26));
		if (i % 4 == 0)
			to.lists.emplace_back(100 + i % 100, i);
	}
}

unsigned long check()
{
	unsigned long sum = 0;
	for (const part &one : parts) {
		for (const auto &[number, name] : one.names)
			sum = (sum * 33 + (unsigned long)number + name.size() + (unsigned char)name.back()) %
			      1000000007;
		for (const auto &list : one.lists)
			sum = (sum * 33 + (unsigned long)list[list.size() / 2] + list.size()) % 1000000007;
	}
	return sum;
}

void change(int start, int step)
{
	for (part &one : parts) {
		for (auto at = one.names.lower_bound(start); at != one.names.end();
		     at = one.names.lower_bound(at->first + step))
			at->second.assign((size_t)(70 + start), 'z');
		for (size_t i = (size_t)start; i < one.lists.size(); i += (size_t)step)
			one.lists[i].push_back(start);
	}
}
} // namespace

int main(int argc, char **argv)
{
	bool wait = argc > 1 && strcmp(argv[1], "wait") == 0;
	int count = (int)(setting("MB", 600) * 4200 / 4), forks = (int)setting("FORKS", 5);
	std::atomic<int> ready{0};
	std::vector<std::thread> threads;

	for (part &one : parts)
		threads.emplace_back([&ready, &one, wait, count] {
			fill(one, count);
			ready++;
			if (wait) {
				std::unique_lock<std::mutex> lock(mutex);
				changed.wait(lock, [] { return over; });
			}
		});
	if (wait)
		while (ready < 4)
			usleep(1000);
	else
		for (auto &thread : threads)
			thread.join();
	for (int turn = 0; turn < forks; turn++) {
		int status = -1;
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			change(turn, 200);
			printf("child %d %lu\n", turn, check());
			fflush(stdout);
			_exit(turn);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != turn) {
			fprintf(stderr, "the child ended with %d\n", status);
			return 1;
		}
		change(turn, 100);
		printf("parent %d %lu\n", turn, check());
		usleep((useconds_t)(setting("PAUSE", 0.1) * 1e6));
	}
	printf("end %lu\n", check());
	fflush(stdout);
	{
		std::lock_guard<std::mutex> lock(mutex);
		over = true;
	}
	changed.notify_all();
	if (wait)
		for (auto &thread : threads)
			thread.join();
	return 0;
}
