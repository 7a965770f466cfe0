/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the monitor's files share. */
#ifndef UMBRA_INTERNAL_H
#define UMBRA_INTERNAL_H

#include "umbra_monitor.h"
#include "umbra_abi.h"

#ifdef __XEN__
#include <xen/string.h>
#else
void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *a, const void *b, size_t length);
#endif

struct umbra_profile;

/* PAE entries (SDM volume 3, section 4.4). */
#define PTE_PRESENT 0x1ull
#define PTE_WRITE 0x2ull
#define PTE_USER 0x4ull
#define PTE_LARGE 0x80ull
#define PTE_NX 0x8000000000000000ull
#define PTE_FRAME 0x000ffffffffff000ull

/* #PF error code. */
#define FAULT_WRITE 0x2u
#define FAULT_USER 0x4u
#define FAULT_FETCH 0x10u

#define PAGE_MASK_LOW 0xfffu
#define PAGE_OF(address) ((uint32_t)(address) & ~PAGE_MASK_LOW)

/* Bounds: nothing the guest does makes the monitor keep or walk more than this. */
#define MAX_DOMAINS 64u
#define MAX_VCPUS 64u
#define MAX_PROCESSES 256u          /* a domain, ended ones included */
#define MAX_FRAMES 131072u          /* tracked a domain: 8 MiB of records */
#define FRAMES_A_CHUNK 64u
#define FRAME_BUCKETS 16384u
#define MAX_SPILLED_PAGES 65536u    /* captures waiting for room in the ring, a domain */
#define MAX_SPILLED_EVENTS 65536u
#define MAX_COALESCING 16u          /* pages coalesced at a time, a domain */
#define MAX_CONTEXTS 32u            /* allocations remembered as given in full, a process */
#define MAX_LIST 1024u              /* processes followed in the guest's list */
#define MAX_VAD_DEPTH 64u
#define MAX_ALLOCATION_PAGES 0x80000u
#define SOON_LAYERS 64u             /* layers and turns of a process that are told of without delay */
#define SOON_TURNS 64u
#define MAX_PARTIAL_READS 32u       /* tries to read what was missing of a process */

/* Defaults and limits of the settings. */
#define DEFAULT_RING_EVENTS 8192u
#define DEFAULT_RING_PAGES 2048u
#define MAX_RING 65536u
#define DEFAULT_COALESCE_AFTER 64u
#define DEFAULT_COALESCE_WINDOW 50000000ull
#define DEFAULT_LAYER_CAP 4096u
#define DEFAULT_VIRQ_EVENTS 256u
#define DEFAULT_SPILL_CAP 8192u
#define VIRQ_TICKS 10000000ull      /* least distance of VIRQs that are not urgent */

/* What is known of a machine frame seen through a watched address space. */
#define FRAME_DIRTY 0x01u      /* written since its last capture */
#define FRAME_CODE 0x02u       /* some mapping may be executable */
#define FRAME_WRITABLE 0x04u   /* some mapping may be writable */
#define FRAME_CAPTURED 0x08u   /* captured in process captured_key, with content `hash` */
#define FRAME_EXECUTED 0x10u   /* it ran in that process */
#define FRAME_ORPHAN 0x20u     /* the guest took a mapping away; orphan_hash is what it held then */

struct umbra_frame {
    uint64_t hash;
    uint64_t orphan_hash;
    uint64_t window;        /* tsc at which the present count of turns began */
    uint32_t mfn;
    uint32_t next;          /* in its bucket or the free list; index + 1, 0 ends */
    uint32_t captured_key;
    uint32_t writer_eip;    /* who wrote it last, as far as the faults tell */
    uint32_t writer_key;    /* watched process, or 0 */
    uint32_t owner_key;     /* watched process it was last written or run in, and where there */
    uint32_t owner_va, owner_gfn;
    uint32_t turns;
    uint32_t flags;
};

struct umbra_allocation {
    uint32_t base, size; /* bytes; size 0: unknown */
};

struct umbra_process_record {
    uint32_t key, pid, parent, flags;
    uint32_t cr3, object, peb; /* object 0: nothing but the address space is known, see space.c */
    uint32_t layer, last_eip, partial_reads, turns;
    uint32_t image;   /* where its program is mapped; 0 unknown */
    bool entered;     /* the program has run */
    bool left;        /* its image holds residue */
    bool thinned;     /* an address space that lost a page since it was last looked at */
    uint32_t look_at, looked; /* 2 MiB to look at next, and how many were found empty in a row */
    uint64_t seen;    /* domain->loads when it was loaded last */
    uint64_t top[4];  /* an address space's highest table as it was seen: frame and present bit */
    uint64_t created, ended;
    uint32_t contexts;
    struct umbra_allocation context[MAX_CONTEXTS];
    char name[UMBRA_NAME_BYTES];
    uint32_t path_units, command_line_units;
    uint16_t path[UMBRA_PATH_UNITS];
    uint16_t command_line[UMBRA_COMMAND_LINE_UNITS];
};

/* Written or run in a process, at an address. */
static inline void umbra_frame_owned(struct umbra_frame *frame, const struct umbra_process_record *process,
                                     uint32_t va, uint32_t gfn)
{
    frame->owner_key = process->key;
    frame->owner_va = PAGE_OF(va);
    frame->owner_gfn = gfn;
}

struct umbra_vcpu_state {
    uint32_t cr3;
    uint32_t key;    /* watched process whose address space is loaded, or 0 */
    uint32_t owner;  /* watched process whose thread runs (another one while attached), or 0 */
    uint32_t object; /* process object of the address space, watched or not; 0 unknown */
    bool unknown;    /* becomes a watched space when a program runs in it */
    bool held;
};

/* A page whose turns are counted instead of reported. */
struct umbra_coalescer {
    struct umbra_event event;
    uint64_t until; /* tsc at which the window ends */
    uint64_t order;
    uint32_t mfn, key;
    uint8_t *page;
};

/* A capture that waits for room in the ring. */
struct umbra_spill {
    struct umbra_spill *next;
    struct umbra_event event;
    uint8_t *page; /* null when the event carries none */
};

enum umbra_state { STATE_IDLE, STATE_WATCHED, STATE_DRAINING, STATE_DRAINED };

struct umbra_domain {
    uint32_t id;
    enum umbra_state state;
    const struct umbra_profile *profile;
    bool recognised; /* the profile's structures were found once */

    /* Settings. */
    uint32_t policy, coalesce_after, layer_cap, virq_events, frame_cap, spill_cap, rules;
    uint64_t coalesce_window;
    struct umbra_rule rule[UMBRA_RULES];

    struct umbra_vcpu_state vcpu[MAX_VCPUS];

    struct umbra_process_record *process[MAX_PROCESSES];
    struct umbra_process_record candidate; /* the process being looked at: too big for a small stack */
    uint32_t next_key;
    uint64_t loads;        /* of CR3 */
    bool thinned;          /* some process is */
    uint32_t look_process; /* place in the table at which the next look begins */

    /* Frame table. */
    uint32_t *bucket;
    struct umbra_frame **chunk;
    uint32_t chunks, free_frame, clock;

    /* Data centre: two rings and what waits for them. Numbers only grow; the place is number modulo size. */
    struct umbra_event *event;
    uint8_t **snapshot;
    uint32_t ring_events, ring_pages;
    uint64_t last_event, fetched, handed_over, acknowledged; /* sequence numbers; last_event: newest */
    uint64_t last_snapshot, freed_snapshot;
    struct umbra_spill *spill, **spill_end;
    uint32_t spilled_events, spilled_pages;
    bool virq_armed;
    uint64_t virq_at;

    struct umbra_coalescer coalescer[MAX_COALESCING];
    uint32_t coalescing;
    uint64_t coalesced_order;

    /* Draining after unwatch: the process and address reached. */
    uint32_t drain_process, drain_va;

    uint8_t *page;  /* 4096 bytes: content being looked at */
    uint8_t *table; /* 4096 bytes: guest page table being walked */

    struct umbra_statistics statistics;
};

extern const struct umbra_ops *umbra_ops;
extern char umbra_host_name[32];

/* domain.c */
struct umbra_domain *umbra_domain_find(uint32_t id);
uint64_t umbra_tsc(const struct umbra_domain *domain, uint32_t vcpu);
void umbra_domain_hold(struct umbra_domain *domain, uint32_t vcpu);
void umbra_domain_release(struct umbra_domain *domain);
int umbra_domain_watch(struct umbra_domain *domain, const struct umbra_watch *watch);
void umbra_domain_unwatch(struct umbra_domain *domain);
void umbra_domain_pump(struct umbra_domain *domain);

/* monitor.c */
/* The old shadow entry maps the same frame and has that right already: PTE_WRITE, or PTE_NX for execution. */
bool umbra_had(const struct umbra_access *access, uint64_t right);

/* turn.c */
/* Reads a frame into domain->page. */
bool umbra_read_page(struct umbra_domain *domain, uint32_t mfn);
/* A fetch by a watched process, or of a tracked frame (else null); returns as umbra_fault. */
int umbra_fetch_fault(struct umbra_domain *domain, struct umbra_vcpu_state *state, struct umbra_access *access,
                      struct umbra_frame *frame);

/* frames.c */
int umbra_frames_open(struct umbra_domain *domain);
void umbra_frames_close(struct umbra_domain *domain);
struct umbra_frame *umbra_frame_find(struct umbra_domain *domain, uint32_t mfn);
/* Finds or adds; null when the table is full of frames that must not be forgotten. */
/* The frame of a record, or null behind the last one; *at is where to go on, 0 at first. */
struct umbra_frame *umbra_frame_next(struct umbra_domain *domain, uint32_t *at);
struct umbra_frame *umbra_frame_track(struct umbra_domain *domain, uint32_t mfn);
void umbra_frame_drop(struct umbra_domain *domain, struct umbra_frame *frame);

/* hash.c */
uint64_t umbra_hash(const uint8_t *page);

/* walk.c */
int umbra_read_physical(struct umbra_domain *domain, uint64_t address, void *buffer, uint32_t length);
int umbra_read_virtual(struct umbra_domain *domain, uint32_t cr3, uint32_t va, void *buffer, uint32_t length);
bool umbra_read_u32(struct umbra_domain *domain, uint32_t cr3, uint32_t va, uint32_t *value);
/* Something is mapped there, out of the user's reach. */
bool umbra_is_supervisor(struct umbra_domain *domain, uint32_t cr3, uint32_t va);

/* Goes through the present user pages of an address space in the order of their addresses. */
struct umbra_walk {
    uint32_t cr3;
    uint32_t va, end; /* next address to look at, and the first one not to */
    uint32_t table_va; /* 2 MiB whose entries are in domain->table, or 1 when none */
    bool large;
    bool addresses_only; /* set by who needs no mfn: finding it costs more than all else */
    uint64_t large_entry;
    /* Result. */
    uint32_t page_va, gfn, mfn;
    uint64_t entry;
};
void umbra_walk_start(struct umbra_walk *walk, uint32_t cr3, uint32_t va, uint32_t end);
bool umbra_walk_next(struct umbra_domain *domain, struct umbra_walk *walk);

/* vad.c */
struct umbra_allocation umbra_allocation_find(struct umbra_domain *domain,
                                              const struct umbra_process_record *process, uint32_t va);

/* rules.c */
bool umbra_rules_match(struct umbra_domain *domain, const struct umbra_process_record *process);
bool umbra_rules_need_path(const struct umbra_domain *domain);
/* One of them is for all user processes. */
bool umbra_rules_all(const struct umbra_domain *domain);
bool umbra_rule_valid(const struct umbra_rule *rule);

/* identity.c */
/* What a CR3 load tells: whose address space, and whose thread. */
struct umbra_identity {
    uint32_t cr3;
    uint32_t object; /* process of the address space; 0 unknown */
    uint32_t owner;  /* process of the thread; 0 unknown */
};
struct umbra_identity umbra_identify(struct umbra_domain *domain, uint32_t vcpu);
/* A process object says that the address space is its own. */
bool umbra_has_space(struct umbra_domain *domain, uint32_t object, uint32_t cr3);
/* Number of the running thread; 0 unknown. */
uint32_t umbra_process_thread(struct umbra_domain *domain, uint32_t vcpu);

/* process.c */
struct umbra_process_record *umbra_process_find(struct umbra_domain *domain, uint32_t key);
struct umbra_process_record *umbra_process_live(struct umbra_domain *domain, uint32_t key);
void umbra_process_switch(struct umbra_domain *domain, uint32_t vcpu);
/* The process of the vCPU's address space becomes watched whatever the rules say; null when it cannot. */
struct umbra_process_record *umbra_process_inject(struct umbra_domain *domain, uint32_t vcpu);
/* It is not on its way out, and its address space is still its own. */
bool umbra_process_stands(struct umbra_domain *domain, const struct umbra_process_record *process);
bool umbra_process_exiting(struct umbra_domain *domain, const struct umbra_process_record *process);
/* Captures its residue and ends it; access may be null. */
void umbra_process_end(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu,
                       const struct umbra_access *access);
/* Records it as a process to watch from now on; null, and counted, when there is no place. */
struct umbra_process_record *umbra_process_add(struct umbra_domain *domain, uint32_t vcpu,
                                               const struct umbra_process_record *candidate);
void umbra_process_refresh(struct umbra_domain *domain, struct umbra_process_record *process);
void umbra_processes_close(struct umbra_domain *domain);

/* space.c */
/* First address that is no user's, as far as the domain's kernel is known. */
uint32_t umbra_user_end(const struct umbra_domain *domain);
/* The access was made by a program, not by the kernel for it. */
bool umbra_in_user(const struct umbra_domain *domain, const struct umbra_access *access);
/* What runs now, of which no process object is known, is to be watched when it has a program. */
bool umbra_space_unknown(const struct umbra_domain *domain, uint32_t object);
/* The first access that a program makes in the vCPU's address space, an unknown one: it is watched from now on. */
void umbra_space_touched(struct umbra_domain *domain, uint32_t vcpu);
/* Its highest table leads where it did. */
bool umbra_space_same(struct umbra_domain *domain, struct umbra_process_record *process);
/* A mapping of the frame went: if it was the one of a space that wrote it, what was written is captured. */
void umbra_space_lost(struct umbra_domain *domain, struct umbra_frame *frame, const struct umbra_access *access);
/* Ends spaces without user pages, among those that lost some, and one other; a bounded number of them. */
void umbra_spaces_look(struct umbra_domain *domain, uint32_t vcpu);
/* Ends all spaces: the domain's processes are known. */
void umbra_spaces_close(struct umbra_domain *domain, uint32_t vcpu);
/* The place of the space that was not loaded for longest, and is not now; null when there is none. */
struct umbra_process_record **umbra_space_longest_unseen(struct umbra_domain *domain);

/* layers.c */
struct umbra_event umbra_event_start(struct umbra_domain *domain, const struct umbra_process_record *process,
                                     uint32_t vcpu, uint32_t kind, const struct umbra_access *access);
/* Captures one page found by a walk; event carries what is common. */
void umbra_capture(struct umbra_domain *domain, struct umbra_process_record *process, struct umbra_event *event,
                   struct umbra_frame *frame, uint32_t mfn);
void umbra_layer_capture(struct umbra_domain *domain, struct umbra_process_record *process,
                         const struct umbra_event *hop);
/* Goes on with the residue of a process from *va; true when it is done, false when the ring is full. */
bool umbra_residue_capture(struct umbra_domain *domain, struct umbra_process_record *process, uint32_t vcpu,
                           uint32_t *va, bool may_spill, const struct umbra_access *access);

/* coalesce.c */
/* Counts one turn; true when it is coalesced (domain->page holds the content, event describes it). */
bool umbra_coalesce_turn(struct umbra_domain *domain, struct umbra_frame *frame, const struct umbra_event *event);
/* Emits what was counted: of pages whose window ended at tsc, of one process, of all but one frame, or all. */
void umbra_coalesce_expire(struct umbra_domain *domain, uint64_t tsc);
void umbra_coalesce_flush(struct umbra_domain *domain, uint32_t key, uint32_t except_mfn);
void umbra_coalesce_close(struct umbra_domain *domain);

/* ring.c */
int umbra_ring_open(struct umbra_domain *domain, uint32_t events, uint32_t pages);
void umbra_ring_close(struct umbra_domain *domain);
/* Room for an event with a page, nothing waiting before it. */
bool umbra_ring_room(const struct umbra_domain *domain);
/* Takes an event in, with its page when content is CAPTURED, and counts it. */
void umbra_ring_put(struct umbra_domain *domain, struct umbra_event *event, const uint8_t *page);
/* Moves what waits into the ring as far as there is room. */
void umbra_ring_pump(struct umbra_domain *domain);
void umbra_ring_acknowledge(struct umbra_domain *domain, uint64_t sequence);
const uint8_t *umbra_ring_snapshot(const struct umbra_domain *domain, uint64_t number);
void umbra_ring_notify(struct umbra_domain *domain, uint64_t tsc, bool urgent);

#endif
