/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The monitor's home in WebAssembly: operations from imports, memory of its own, the exchange area. */
#include "internal.h"

#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("read_frame") int import_read_frame(uint32_t domain, uint32_t mfn, uint32_t offset, void *buffer,
                                           uint32_t length);
IMPORT("gfn_to_mfn") uint32_t import_gfn_to_mfn(uint32_t domain, uint32_t gfn);
IMPORT("vcpu_count") uint32_t import_vcpu_count(uint32_t domain);
IMPORT("vcpu_cr3") uint32_t import_vcpu_cr3(uint32_t domain, uint32_t vcpu);
IMPORT("vcpu_gdt_base") uint32_t import_vcpu_gdt_base(uint32_t domain, uint32_t vcpu);
IMPORT("vcpu_tsc") void import_vcpu_tsc(uint32_t domain, uint32_t vcpu, uint64_t *tsc);
IMPORT("revoke_write") void import_revoke_write(uint32_t domain, uint32_t mfn);
IMPORT("revoke_mappings") void import_revoke_mappings(uint32_t domain, uint32_t mfn);
IMPORT("revoke_space") void import_revoke_space(uint32_t domain, uint32_t cr3);
IMPORT("vcpu_hold") void import_vcpu_hold(uint32_t domain, uint32_t vcpu);
IMPORT("vcpu_release") void import_vcpu_release(uint32_t domain, uint32_t vcpu);
IMPORT("raise_virq") void import_raise_virq(void);
IMPORT("copy_from_caller") int import_copy_from_caller(void *buffer, uint32_t low, uint32_t high,
                                                       uint32_t length);
IMPORT("copy_to_caller") int import_copy_to_caller(uint32_t low, uint32_t high, const void *buffer,
                                                   uint32_t length);

void *memcpy(void *to, const void *from, size_t length)
{
    return __builtin_memcpy(to, from, length);
}

void *memset(void *to, int byte, size_t length)
{
    return __builtin_memset(to, byte, length);
}

int memcmp(const void *a, const void *b, size_t length)
{
    const uint8_t *x = a, *y = b;

    for ( ; length; length--, x++, y++ )
        if ( *x != *y )
            return *x - *y;
    return 0;
}

static int copy_from_caller(void *buffer, uint64_t address, uint32_t length)
{
    return import_copy_from_caller(buffer, (uint32_t)address, (uint32_t)(address >> 32), length);
}

static int copy_to_caller(uint64_t address, const void *buffer, uint32_t length)
{
    return import_copy_to_caller((uint32_t)address, (uint32_t)(address >> 32), buffer, length);
}

/* Memory: blocks of powers of two, each size with its own list of free ones; never given back to the host. */
#define SMALLEST 5u
#define LARGEST 28u
#define WASM_PAGE 65536u

struct block {
    struct block *next;
};

static struct block *free_blocks[LARGEST + 1];
static uint32_t bump, limit;

static uint32_t class_of(uint32_t size)
{
    uint32_t class = SMALLEST;

    while ( class <= LARGEST && (1u << class) < size )
        class++;
    return class;
}

static void *allocate(uint32_t size)
{
    uint32_t class = class_of(size), bytes = 1u << class;
    struct block *block;

    if ( class > LARGEST )
        return NULL;
    block = free_blocks[class];
    if ( block )
        free_blocks[class] = block->next;
    else
    {
        if ( !limit )
            bump = limit = __builtin_wasm_memory_size(0) * WASM_PAGE;
        if ( limit - bump < bytes )
        {
            uint32_t pages = (bytes - (limit - bump) + WASM_PAGE - 1) / WASM_PAGE;

            if ( __builtin_wasm_memory_grow(0, pages) == (size_t)-1 )
                return NULL;
            limit += pages * WASM_PAGE;
        }
        block = (struct block *)bump;
        bump += bytes;
    }
    return memset(block, 0, size);
}

static void release(void *memory, uint32_t size)
{
    struct block *block = memory;
    uint32_t class = class_of(size);

    block->next = free_blocks[class];
    free_blocks[class] = block;
}

/* The imports run one call at a time: there is nothing to lock. */
static void no_lock(uint32_t domain)
{
    (void)domain;
}

static const struct umbra_ops wasm_ops = {
    .read_frame = import_read_frame,
    .gfn_to_mfn = import_gfn_to_mfn,
    .vcpu_count = import_vcpu_count,
    .vcpu_cr3 = import_vcpu_cr3,
    .vcpu_gdt_base = import_vcpu_gdt_base,
    .vcpu_tsc = import_vcpu_tsc,
    .revoke_write = import_revoke_write,
    .revoke_mappings = import_revoke_mappings,
    .revoke_space = import_revoke_space,
    .vcpu_hold = import_vcpu_hold,
    .vcpu_release = import_vcpu_release,
    .raise_virq = import_raise_virq,
    .copy_from_caller = copy_from_caller,
    .copy_to_caller = copy_to_caller,
    .allocate = allocate,
    .release = release,
    .lock = no_lock,
    .unlock = no_lock,
};

static struct umbra_access exchange;

EXPORT("umbra_exchange") struct umbra_access *wasm_exchange(void)
{
    return &exchange;
}

EXPORT("umbra_init") void wasm_init(void)
{
    umbra_init(&wasm_ops, "test bed");
}

EXPORT("umbra_domain_create") int wasm_domain_create(uint32_t domain)
{
    return umbra_domain_create(domain);
}

EXPORT("umbra_domain_destroy") void wasm_domain_destroy(uint32_t domain)
{
    umbra_domain_destroy(domain);
}

EXPORT("umbra_cr3_loaded") void wasm_cr3_loaded(uint32_t domain, uint32_t vcpu)
{
    umbra_cr3_loaded(domain, vcpu);
}

EXPORT("umbra_cr3_dying") void wasm_cr3_dying(uint32_t domain, uint32_t vcpu, uint32_t cr3)
{
    umbra_cr3_dying(domain, vcpu, cr3);
}

EXPORT("umbra_fault") int wasm_fault(struct umbra_access *access)
{
    return umbra_fault(access);
}

EXPORT("umbra_filter") void wasm_filter(struct umbra_access *access)
{
    umbra_filter(access);
}

EXPORT("umbra_entry_removed") void wasm_entry_removed(struct umbra_access *access)
{
    umbra_entry_removed(access);
}

EXPORT("umbra_hypercall")
int wasm_hypercall(uint32_t caller, uint32_t command, uint32_t argument_lo, uint32_t argument_hi)
{
    return (int)umbra_hypercall_at(caller, command, (uint64_t)argument_hi << 32 | argument_lo);
}
