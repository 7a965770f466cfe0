/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Written by xen/abi_header.ts from the table in xen/abi.ts: change that and run it again. */
#ifndef UMBRA_ABI_H
#define UMBRA_ABI_H

#ifdef __XEN__
#include <xen/types.h>
#else
#include <stdint.h>
#endif

#define UMBRA_ABI_VERSION 2

#define UMBRA_COMMAND_INFO 0
#define UMBRA_COMMAND_WATCH 1
#define UMBRA_COMMAND_UNWATCH 2
#define UMBRA_COMMAND_FETCH 3
#define UMBRA_COMMAND_PROCESS 4
#define UMBRA_COMMAND_COPY 5
#define UMBRA_COMMAND_ACKNOWLEDGE 6
#define UMBRA_COMMAND_STATISTICS 7
#define UMBRA_COMMAND_READ 8

#define UMBRA_PAGE_SIZE 4096
#define UMBRA_COPY_PAGES 512
#define UMBRA_FETCH_EVENTS 1024
#define UMBRA_RULES 8
#define UMBRA_PATTERN_BYTES 64
#define UMBRA_NAME_BYTES 16
#define UMBRA_PATH_UNITS 260
#define UMBRA_COMMAND_LINE_UNITS 512
#define UMBRA_ALLOWED_DOMAIN 0

#define UMBRA_EVENT_S1 0
#define UMBRA_EVENT_S2 1
#define UMBRA_EVENT_LAYER 2
#define UMBRA_EVENT_RESIDUE 3
#define UMBRA_EVENT_CONTEXT 4
#define UMBRA_EVENT_COALESCED 5
#define UMBRA_EVENT_PROCESS_START 6
#define UMBRA_EVENT_PROCESS_END 7

#define UMBRA_CONTENT_NONE 0
#define UMBRA_CONTENT_CAPTURED 1
#define UMBRA_CONTENT_UNCHANGED 2
#define UMBRA_CONTENT_LOST 3

#define UMBRA_RULE_PREFIX 0
#define UMBRA_RULE_EXACT 1
#define UMBRA_RULE_GLOB 2
#define UMBRA_RULE_PID 3
#define UMBRA_RULE_ALL 4

#define UMBRA_POLICY_PAUSE 0
#define UMBRA_POLICY_DROP 1

#define UMBRA_FLAG_EVENT_HOP 1
#define UMBRA_FLAG_PROCESS_PARTIAL 1
#define UMBRA_FLAG_PROCESS_ENDED 2
#define UMBRA_FLAG_STATISTICS_WATCHED 1
#define UMBRA_FLAG_STATISTICS_DRAINED 2
#define UMBRA_FLAG_STATISTICS_HELD 4

#define UMBRA_EPERM 1
#define UMBRA_ENOENT 2
#define UMBRA_ESRCH 3
#define UMBRA_ENOMEM 12
#define UMBRA_EFAULT 14
#define UMBRA_EBUSY 16
#define UMBRA_ENODEV 19
#define UMBRA_EINVAL 22
#define UMBRA_ENOSPC 28
#define UMBRA_ENOSYS 38
#define UMBRA_EOPNOTSUPP 95

/* umbra_fetch.after: go on behind the last event fetched. */
#define UMBRA_FETCH_ON (~(uint64_t)0)

/* One event (S, env). */
struct umbra_event {
    uint64_t sequence;                 /*    0  position in the domain's stream, from 1, without gaps */
    uint64_t snapshot;                 /*    8  number of the snapshot; 0 when there is none */
    uint64_t va;                       /*   16  page-aligned; 0 for process events */
    uint64_t gfn;                      /*   24 */
    uint64_t guest_entry;              /*   32 */
    uint64_t old_shadow_entry;         /*   40 */
    uint64_t new_shadow_entry;         /*   48 */
    uint64_t tsc;                      /*   56 */
    uint64_t allocation_base;          /*   64  0 when unknown */
    uint64_t allocation_size;          /*   72  bytes */
    uint64_t content_hash;             /*   80  of the 4096 bytes; 0 for process events */
    uint64_t hop_from;                 /*   88 */
    uint64_t hop_to;                   /*   96 */
    uint32_t kind;                     /*  104  UMBRA_EVENT_* */
    uint32_t content;                  /*  108  UMBRA_CONTENT_* */
    uint32_t flags;                    /*  112  UMBRA_FLAG_EVENT_* */
    uint32_t domain;                   /*  116 */
    uint32_t vcpu;                     /*  120 */
    uint32_t process;                  /*  124  key; 0 when unknown */
    uint32_t pid;                      /*  128 */
    uint32_t tid;                      /*  132 */
    uint32_t error_code;               /*  136 */
    uint32_t layer;                    /*  140 */
    uint32_t turns;                    /*  144 */
    uint32_t eip;                      /*  148 */
    uint32_t esp;                      /*  152 */
    uint32_t eflags;                   /*  156 */
    uint32_t eax;                      /*  160 */
    uint32_t ecx;                      /*  164 */
    uint32_t edx;                      /*  168 */
    uint32_t ebx;                      /*  172 */
    uint32_t ebp;                      /*  176 */
    uint32_t esi;                      /*  180 */
    uint32_t edi;                      /*  184 */
    uint32_t address_space;            /*  188  CR3 of a process of which nothing else is known; else 0 */
};
_Static_assert(sizeof(struct umbra_event) == 192, "umbra_event");

/* Which processes are watched. */
struct umbra_rule {
    uint32_t kind;                     /*    0  UMBRA_RULE_* */
    uint32_t pid;                      /*    4  for UMBRA_RULE_PID */
    char pattern[64];                  /*    8  UTF-8, ends with a zero */
};
_Static_assert(sizeof(struct umbra_rule) == 72, "umbra_rule");

/* Argument of info: the monitor fills everything, and answers whatever version asks. */
struct umbra_info {
    uint32_t abi;                      /*    0  the monitor's version */
    uint32_t copy_pages;               /*    4 */
    uint32_t ring_events;              /*    8  default of watch */
    uint32_t ring_pages;               /*   12  default of watch */
    uint32_t event_size;               /*   16  bytes */
    uint32_t profile;                  /*   20  guest profile built in: 1 Windows 7 SP1 x86 PAE */
    char name[32];                     /*   24  what hosts the monitor */
};
_Static_assert(sizeof(struct umbra_info) == 56, "umbra_info");

/* Argument of watch. Zero in a setting takes the default. Watching again replaces rules and settings. */
struct umbra_watch {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint32_t profile;                  /*    8  0 for the default */
    uint32_t policy;                   /*   12  UMBRA_POLICY_* */
    uint32_t coalesce_after;           /*   16  turns */
    uint32_t layer_cap;                /*   20  pages */
    uint32_t ring_events;              /*   24 */
    uint32_t ring_pages;               /*   28 */
    uint32_t frame_cap;                /*   32  frames tracked at most */
    uint32_t spill_cap;                /*   36  pages that may wait for room in the ring */
    uint64_t coalesce_window;          /*   40  ticks of the guest's time-stamp counter */
    uint32_t virq_events;              /*   48  a VIRQ at the latest when this many events wait */
    uint32_t rules;                    /*   52  how many of the rules below count */
    struct umbra_rule rule[8];         /*   56 */
};
_Static_assert(sizeof(struct umbra_watch) == 632, "umbra_watch");

/* Argument of unwatch. What is left to capture is produced as the ring is fetched and acknowledged. */
struct umbra_unwatch {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
};
_Static_assert(sizeof(struct umbra_unwatch) == 8, "umbra_unwatch");

/* Argument of fetch; the result is the number of events written. */
struct umbra_fetch {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint64_t buffer;                   /*    8  address of the events */
    uint64_t after;                    /*   16  events behind this sequence number; all ones: behind the last one fetched */
    uint32_t capacity;                 /*   24  events */
    uint32_t reserved;                 /*   28 */
};
_Static_assert(sizeof(struct umbra_fetch) == 32, "umbra_fetch");

/* Argument of process: key in, the rest out. */
struct umbra_process {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint32_t key;                      /*    8 */
    uint32_t flags;                    /*   12  UMBRA_FLAG_PROCESS_* */
    uint32_t pid;                      /*   16 */
    uint32_t parent_pid;               /*   20 */
    uint64_t cr3;                      /*   24 */
    uint64_t create_time;              /*   32 */
    uint64_t object;                   /*   40  address of the guest's process object; 0: nothing but the address space is known */
    char name[16];                     /*   48 */
    uint32_t path_units;               /*   64 */
    uint32_t command_line_units;       /*   68 */
    uint16_t path[260];                /*   72  UTF-16 */
    uint16_t command_line[512];        /*  592  UTF-16 */
};
_Static_assert(sizeof(struct umbra_process) == 1616, "umbra_process");

/* Argument of copy; the result is the number of pages that were there. Places of missing pages stay as they were. */
struct umbra_copy {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint64_t snapshots;                /*    8  address of `count` 64-bit snapshot numbers */
    uint64_t buffer;                   /*   16  address of `count` pages */
    uint32_t count;                    /*   24 */
    uint32_t reserved;                 /*   28 */
    uint8_t missing[64];               /*   32  bit i: snapshot i is gone */
};
_Static_assert(sizeof(struct umbra_copy) == 96, "umbra_copy");

/* Argument of acknowledge: events up to and including this one are freed, snapshots too. */
struct umbra_acknowledge {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint64_t sequence;                 /*    8 */
};
_Static_assert(sizeof(struct umbra_acknowledge) == 16, "umbra_acknowledge");

/* Argument of statistics: domain in, the rest out. */
struct umbra_statistics {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint32_t flags;                    /*    8  UMBRA_FLAG_STATISTICS_* */
    uint32_t processes;                /*   12  watched processes that live */
    uint64_t events;                   /*   16 */
    uint64_t pages_seen;               /*   24 */
    uint64_t pages_captured;           /*   32 */
    uint64_t pages_unchanged;          /*   40 */
    uint64_t pages_lost;               /*   48 */
    uint64_t turns_coalesced;          /*   56 */
    uint64_t vcpu_pauses;              /*   64 */
    uint64_t faults;                   /*   72 */
    uint64_t faults_passed;            /*   80 */
    uint64_t events_lost;              /*   88  events that found no room (their pages are in pages_lost) */
    uint64_t frames;                   /*   96  frames tracked */
    uint64_t frames_refused;           /*  104  frames that could not be tracked: table full */
    uint64_t processes_refused;        /*  112  processes that could not be watched: table full */
    uint64_t waiting_events;           /*  120  in the ring, not acknowledged */
    uint64_t waiting_pages;            /*  128 */
    uint64_t spilled_pages;            /*  136  captured, waiting for room in the ring */
    uint64_t last_sequence;            /*  144  of the newest event */
    uint64_t processes_displaced;      /*  152  address spaces that lived and made room for others: table full */
};
_Static_assert(sizeof(struct umbra_statistics) == 160, "umbra_statistics");

/* Argument of read: user memory of a watched process that lives, as it is now; the result is the number of bytes up to the first page that is not there. */
struct umbra_read {
    uint32_t abi;                      /*    0 */
    uint32_t domain;                   /*    4 */
    uint32_t key;                      /*    8 */
    uint32_t address;                  /*   12 */
    uint64_t buffer;                   /*   16  address of `length` bytes */
    uint32_t length;                   /*   24  bytes, at most copy_pages pages; 0 asks for the PEB only */
    uint32_t peb;                      /*   28  out: address of the process environment block; 0 when unknown */
};
_Static_assert(sizeof(struct umbra_read) == 32, "umbra_read");

#endif
