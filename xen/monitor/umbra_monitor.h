/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The monitor's face: what a hypervisor calls, and what it must provide.
 *
 * One source, two homes. In a hypervisor written in C the functions below are called directly and
 * `struct umbra_ops` is filled by its glue; as a WebAssembly module the same functions are exports and
 * `home_wasm.c` fills the table from imports of the same names in module "env".
 *
 * Locking: every entry point runs with the domain's paging lock held. The entry points of the fault path are
 * called with it; umbra_hypercall takes it itself through ops->lock. There is no other lock.
 */
#ifndef UMBRA_MONITOR_H
#define UMBRA_MONITOR_H

#ifdef __XEN__
#include <xen/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

/* Flags of struct umbra_access. */
/* The va is not known (an entry validated through its table, not through an access). */
#define UMBRA_ACCESS_NO_VA 0x1u
/* The entry may belong to another address space than the vCPU's current one. */
#define UMBRA_ACCESS_OTHER_SPACE 0x2u

/*
 * One shadow entry that is about to be written, or that is going away. Little-endian, 128 bytes.
 * Entries are PAE entries as in SDM volume 3, section 4.4 (P 0x1, W 0x2, U 0x4, frame bits 51:12, NX bit 63).
 */
struct umbra_access {
    uint32_t domain;     /*   0 */
    uint32_t vcpu;       /*   4 */
    uint32_t error_code; /*   8  #PF error code: P 1, W 2, U 4, RSVD 8, fetch 16; 0 outside the fault path */
    uint32_t flags;      /*  12  UMBRA_ACCESS_* */
    uint64_t va;         /*  16  faulting address (fetch: what EIP wanted to run) */
    uint64_t gl1e;       /*  24  the guest's leaf entry (removed: the guest's new entry, 0 when cleared) */
    uint64_t sl1e_old;   /*  32  shadow entry as it stands; 0 when none */
    uint64_t sl1e_new;   /*  40  shadow entry about to be written; narrowed by the monitor on return */
    uint64_t gfn;        /*  48  frame the entry maps (removed: frame the old entry mapped) */
    uint64_t mfn;        /*  56 */
    uint32_t eip;        /*  64 */
    uint32_t esp;        /*  68 */
    uint32_t eflags;     /*  72 */
    uint32_t cs;         /*  76 */
    uint32_t eax;        /*  80 */
    uint32_t ecx;        /*  84 */
    uint32_t edx;        /*  88 */
    uint32_t ebx;        /*  92 */
    uint32_t ebp;        /*  96 */
    uint32_t esi;        /* 100 */
    uint32_t edi;        /* 104 */
    uint32_t reserved;   /* 108  zero */
    uint64_t gl1e_old;   /* 112  removed: the guest's entry before the change; else 0 */
    uint64_t reserved2;  /* 120  zero */
};

/*
 * What the monitor needs of its home. Numbers are 0 or more when good, negative Xen errno when not.
 * In WebAssembly every argument and result is an i32: frames, addresses and lengths fit in 32 bits, 64-bit
 * results are written through a pointer into the module's memory.
 */
struct umbra_ops {
    /* Reads bytes of a machine frame that belongs to the domain; 0 or -errno. offset + length <= 4096. */
    int (*read_frame)(uint32_t domain, uint32_t mfn, uint32_t offset, void *buffer, uint32_t length);
    /* Machine frame behind a guest frame, or UMBRA_NO_FRAME. */
    uint32_t (*gfn_to_mfn)(uint32_t domain, uint32_t gfn);
    /* vCPUs of the domain; 0 when there is no such domain. */
    uint32_t (*vcpu_count)(uint32_t domain);
    /* The guest's CR3 and the base of its GDT. */
    uint32_t (*vcpu_cr3)(uint32_t domain, uint32_t vcpu);
    uint32_t (*vcpu_gdt_base)(uint32_t domain, uint32_t vcpu);
    /* The guest's time-stamp counter. */
    void (*vcpu_tsc)(uint32_t domain, uint32_t vcpu, uint64_t *tsc);
    /* Every shadow mapping of the frame loses W: the next write through any of them faults. TLBs flushed. */
    void (*revoke_write)(uint32_t domain, uint32_t mfn);
    /* Every shadow mapping of the frame is removed: the next access of any kind faults. TLBs flushed. */
    void (*revoke_mappings)(uint32_t domain, uint32_t mfn);
    /*
     * Every shadow mapping of user pages (U/S set in the guest's entries) of the address space is removed, so that
     * the next access to each faults. cr3 as the guest loads it; 0: of every address space of the domain. TLBs flushed.
     */
    void (*revoke_space)(uint32_t domain, uint32_t cr3);
    /* Stops a vCPU at its next chance, and lets it go on. Holding a held one, or releasing a free one, is good. */
    void (*vcpu_hold)(uint32_t domain, uint32_t vcpu);
    void (*vcpu_release)(uint32_t domain, uint32_t vcpu);
    /* Tells the allowed domain that there is something to fetch. */
    void (*raise_virq)(void);
    /* Memory of the hypercall's caller, by the address the caller named; 0 or -errno. */
    int (*copy_from_caller)(void *buffer, uint64_t address, uint32_t length);
    int (*copy_to_caller)(uint64_t address, const void *buffer, uint32_t length);
    /* Zeroed memory, 8-aligned, or a null pointer; and giving it back (size as allocated). */
    void *(*allocate)(uint32_t size);
    void (*release)(void *memory, uint32_t size);
    /* The domain's paging lock, for hypercalls. */
    void (*lock)(uint32_t domain);
    void (*unlock)(uint32_t domain);
};

#define UMBRA_NO_FRAME 0xffffffffu

/*
 * Exports. In WebAssembly the imports in module "env" are:
 *   read_frame(domain, mfn, offset, buffer, length) -> 0 | -errno
 *   gfn_to_mfn(domain, gfn) -> mfn | -1
 *   vcpu_count(domain) -> n          vcpu_cr3(domain, vcpu) -> cr3        vcpu_gdt_base(domain, vcpu) -> base
 *   vcpu_tsc(domain, vcpu, result)   writes 8 bytes little-endian at `result` of the module's memory
 *   revoke_write(domain, mfn)        revoke_mappings(domain, mfn)         revoke_space(domain, cr3)
 *   vcpu_hold(domain, vcpu)          vcpu_release(domain, vcpu)           raise_virq()
 *   copy_from_caller(buffer, address_lo, address_hi, length) -> 0 | -errno
 *   copy_to_caller(address_lo, address_hi, buffer, length) -> 0 | -errno
 * `buffer` is an address in the module's memory (export "memory", which may grow: make views anew each call).
 * allocate, release, lock and unlock are the module's own.
 * All exports may be called from inside no import (the imports must not call back into the module).
 */

/* Must be called once before anything else. `name` says what hosts the monitor, at most 31 bytes. */
void umbra_init(const struct umbra_ops *ops, const char *name);
/* WebAssembly: umbra_init() without arguments; it fills the table and calls the above. */

/* A domain came into being, or is gone (everything kept for it is freed). 0 or -errno. */
int umbra_domain_create(uint32_t domain);
void umbra_domain_destroy(uint32_t domain);

/* The guest loaded CR3 on this vCPU (after the load: ops->vcpu_cr3 gives the new value). */
void umbra_cr3_loaded(uint32_t domain, uint32_t vcpu);

/*
 * The guest says that it is about to tear down the address space with that CR3 (HVMOP_pagetable_dying). Its tables
 * and frames are still as they were.
 */
void umbra_cr3_dying(uint32_t domain, uint32_t vcpu, uint32_t cr3);

/*
 * A shadow fault that is not the guest's own, its new entry computed and not yet written. Returns 0: go on and
 * write sl1e_new, which may have been narrowed; 1: write nothing, the vCPU is held, let it repeat the access
 * when it is released.
 * Note that revoke_* may be called for the very frame: sl1e_old may be gone when this returns.
 */
int umbra_fault(struct umbra_access *access);

/* An entry installed outside the fault path (prefetch, validate, resync): sl1e_new may be narrowed. */
void umbra_filter(struct umbra_access *access);

/*
 * A present entry of a user page goes away, or changes its frame, because the guest changed its tables. Called
 * before the frame can have a new owner; the frame's bytes are still there. Call it for every guest leaf entry
 * of a user page that was present and changes, whether a shadow entry stood for it or not (when the table that
 * held it is known to the hypervisor, i.e. shadowed).
 */
void umbra_entry_removed(struct umbra_access *access);

/* The hypercall, with the domain that makes it. 0 or more, or -errno. */
long umbra_hypercall_at(uint32_t caller, uint32_t command, uint64_t argument);
/* WebAssembly: umbra_hypercall(caller, command, argument_lo, argument_hi) -> i32. */

/* WebAssembly only: address of one struct umbra_access for the calls above (128 bytes, fixed). */
/* uint32_t umbra_exchange(void); */

#endif
