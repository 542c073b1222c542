// An echo server on level-triggered epoll, without a library. It shows the limit of what the other servers
// can reach, and has their flags and commands. It has one thread and one buffer for all reads. A conn has
// a queue only for bytes that the kernel does not accept, and it is not read while it has a queue.
//
// Build: gcc -O2 -o server server.c

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BUFFER = 64 << 10, EVENTS = 256, BACKLOG = 4096 };

struct conn {
	int fd;
	char *line; // beginning of a line without its newline, for the line workload
	size_t line_len;
	char *queue; // bytes that the kernel has not accepted
	size_t queue_len, queue_from;
};

static int epfd;
static char buffer[BUFFER];
static struct conn listener, commands; // their addresses identify events; only listener.fd is used

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void *check_alloc(void *p) {
	if (!p) die("malloc");
	return p;
}

static void watch(int op, int fd, unsigned events, void *data) {
	struct epoll_event ev = {.events = events, .data.ptr = data};
	if (epoll_ctl(epfd, op, fd, &ev)) die("epoll_ctl");
}

static void close_conn(struct conn *c) {
	close(c->fd);
	free(c->line);
	free(c->queue);
	free(c);
}

// enqueue queues p and waits for writability instead of readability.
static void enqueue(struct conn *c, const char *p, size_t n) {
	if (!c->queue_len) watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
	c->queue = check_alloc(realloc(c->queue, c->queue_len + n));
	memcpy(c->queue + c->queue_len, p, n);
	c->queue_len += n;
}

// send_all returns 0 if the conn failed.
static int send_all(struct conn *c, const char *p, size_t n) {
	if (!c->queue_len) {
		ssize_t sent = write(c->fd, p, n);
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR) return 0;
			sent = 0;
		}
		p += sent, n -= sent;
	}
	if (n) enqueue(c, p, n);
	return 1;
}

static void flush(struct conn *c) {
	ssize_t sent = write(c->fd, c->queue + c->queue_from, c->queue_len - c->queue_from);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) close_conn(c);
		return;
	}
	c->queue_from += sent;
	if (c->queue_from < c->queue_len) return;
	free(c->queue);
	c->queue = NULL;
	c->queue_len = c->queue_from = 0;
	watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static int answer_lines(struct conn *c, const char *p, size_t n) {
	for (const char *end; n && (end = memchr(p, '\n', n)); ) {
		size_t len = end + 1 - p;
		if (c->line_len) {
			c->line = check_alloc(realloc(c->line, c->line_len + len));
			memcpy(c->line + c->line_len, p, len);
			if (!send_all(c, c->line, c->line_len + len)) return 0;
			c->line_len = 0;
		} else if (!send_all(c, p, len)) {
			return 0;
		}
		p += len, n -= len;
	}
	if (n) {
		c->line = check_alloc(realloc(c->line, c->line_len + n));
		memcpy(c->line + c->line_len, p, n);
		c->line_len += n;
	}
	return 1;
}

static void receive(struct conn *c, int lines) {
	ssize_t n = read(c->fd, buffer, sizeof buffer);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0 || !(lines ? answer_lines : send_all)(c, buffer, n)) close_conn(c);
}

static void accept_one(void) {
	int fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
		die("accept4");
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	struct conn *c = check_alloc(calloc(1, sizeof *c));
	c->fd = fd;
	watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static void read_commands(void) {
	static char text[256];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
	if (n <= 0) exit(0);
	len += n;
	for (char *end; (end = memchr(text, '\n', len)); ) {
		*end = 0;
		if (!strcmp(text, "rest")) {
			malloc_trim(0);
			puts("ok");
		} else if (!strcmp(text, "stat")) {
			puts("{\"goroutines\":0,\"mallocs\":0,\"totalAlloc\":0}");
		} else {
			fprintf(stderr, "command \"%s\": want rest or stat\n", text);
			exit(1);
		}
		fflush(stdout);
		len -= end + 1 - text;
		memmove(text, end + 1, len);
	}
	if (len == sizeof text) {
		fputs("command too long: want rest or stat\n", stderr);
		exit(1);
	}
}

static void listen_any_port(void) {
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;
	listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener.fd < 0) die("socket");
	if (bind(listener.fd, (struct sockaddr *)&addr, len)) die("bind");
	if (listen(listener.fd, BACKLOG)) die("listen");
	if (getsockname(listener.fd, (struct sockaddr *)&addr, &len)) die("getsockname");
	printf("listening 127.0.0.1:%d\n", ntohs(addr.sin_port));
	fflush(stdout);
}

static const char *workload(int argc, char **argv) {
	const char *chosen = "echo";
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc) {
			fprintf(stderr, "%s: want a value\n", argv[i]);
			exit(2);
		}
		if (!strcmp(argv[i], "-workload")) chosen = argv[i + 1];
	}
	return chosen;
}

static int answers_lines(const char *chosen) {
	const char *echoes[] = {"echo", "accept", "idle", "firehose"};
	for (size_t i = 0; i < sizeof echoes / sizeof *echoes; i++)
		if (!strcmp(chosen, echoes[i])) return 0;
	if (!strcmp(chosen, "line")) return 1;
	fprintf(stderr, "unsupported: the server in C supports echo and line, not %s\n", chosen);
	exit(3);
}

int main(int argc, char **argv) {
	int lines = answers_lines(workload(argc, argv));
	struct epoll_event events[EVENTS];
	signal(SIGPIPE, SIG_IGN);
	if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
	listen_any_port();
	watch(EPOLL_CTL_ADD, listener.fd, EPOLLIN, &listener);
	watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &commands);
	for (;;) {
		int n = epoll_wait(epfd, events, EVENTS, -1);
		if (n < 0 && errno != EINTR) die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c == &listener) accept_one();
			else if (c == &commands) read_commands();
			else if (c->queue_len) flush(c);
			else receive(c, lines);
		}
	}
}
