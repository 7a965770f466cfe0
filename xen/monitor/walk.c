/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reading guest memory: PAE tables (SDM volume 3, section 4.4) walked by hand. Every entry is the guest's word. */
#include "internal.h"

/* Reads within one guest frame or across several; 0 or -errno. */
int umbra_read_physical(struct umbra_domain *domain, uint64_t address, void *buffer, uint32_t length)
{
    uint8_t *to = buffer;

    while ( length )
    {
        uint32_t offset = (uint32_t)address & PAGE_MASK_LOW;
        uint32_t part = UMBRA_PAGE_SIZE - offset;
        uint64_t gfn = address >> 12;
        uint32_t mfn;
        int rc;

        if ( part > length )
            part = length;
        if ( gfn >= UMBRA_NO_FRAME )
            return -UMBRA_EFAULT;
        mfn = umbra_ops->gfn_to_mfn(domain->id, (uint32_t)gfn);
        if ( mfn == UMBRA_NO_FRAME )
            return -UMBRA_EFAULT;
        rc = umbra_ops->read_frame(domain->id, mfn, offset, to, part);
        if ( rc )
            return rc;
        to += part;
        address += part;
        length -= part;
    }
    return 0;
}

/* The entry of level 2 (page directory) above an address; 0 when there is none. */
static uint64_t directory_entry(struct umbra_domain *domain, uint32_t cr3, uint32_t va)
{
    uint64_t entry;

    if ( umbra_read_physical(domain, (cr3 & ~31u) + (va >> 30) * 8, &entry, 8) || !(entry & PTE_PRESENT) )
        return 0;
    if ( umbra_read_physical(domain, (entry & PTE_FRAME) + ((va >> 21) & 511) * 8, &entry, 8) ||
         !(entry & PTE_PRESENT) )
        return 0;
    return entry;
}

/* Entry of a small page that a large one stands for. */
static uint64_t part_of_large(uint64_t large, uint32_t va)
{
    return ((large & ~0x1fff80ull) | ((uint64_t)va & 0x1ff000)) & ~PTE_LARGE;
}

static uint64_t leaf_entry(struct umbra_domain *domain, uint32_t cr3, uint32_t va)
{
    uint64_t entry = directory_entry(domain, cr3, va);

    if ( !entry )
        return 0;
    if ( entry & PTE_LARGE )
        return part_of_large(entry, va);
    if ( umbra_read_physical(domain, (entry & PTE_FRAME) + ((va >> 12) & 511) * 8, &entry, 8) )
        return 0;
    return entry & PTE_PRESENT ? entry : 0;
}

int umbra_read_virtual(struct umbra_domain *domain, uint32_t cr3, uint32_t va, void *buffer, uint32_t length)
{
    uint8_t *to = buffer;

    if ( va + length < va )
        return -UMBRA_EFAULT;
    while ( length )
    {
        uint32_t offset = va & PAGE_MASK_LOW;
        uint32_t part = UMBRA_PAGE_SIZE - offset;
        uint64_t entry = leaf_entry(domain, cr3, va);
        int rc;

        if ( part > length )
            part = length;
        if ( !entry )
            return -UMBRA_EFAULT;
        rc = umbra_read_physical(domain, (entry & PTE_FRAME) + offset, to, part);
        if ( rc )
            return rc;
        to += part;
        va += part;
        length -= part;
    }
    return 0;
}

bool umbra_read_u32(struct umbra_domain *domain, uint32_t cr3, uint32_t va, uint32_t *value)
{
    *value = 0;
    return umbra_read_virtual(domain, cr3, va, value, 4) == 0;
}

bool umbra_is_supervisor(struct umbra_domain *domain, uint32_t cr3, uint32_t va)
{
    uint64_t leaf = leaf_entry(domain, cr3, va);

    return leaf && !(leaf & directory_entry(domain, cr3, va) & PTE_USER);
}

void umbra_walk_start(struct umbra_walk *walk, uint32_t cr3, uint32_t va, uint32_t end)
{
    memset(walk, 0, sizeof(*walk));
    walk->cr3 = cr3;
    walk->va = PAGE_OF(va);
    walk->end = end;
    walk->table_va = 1;
}

/* Loads the entries of the 2 MiB around walk->va; false when nothing is mapped there. */
static bool load_table(struct umbra_domain *domain, struct umbra_walk *walk)
{
    uint64_t entry = directory_entry(domain, walk->cr3, walk->va);

    walk->large = false;
    if ( !entry )
        return false;
    if ( entry & PTE_LARGE )
    {
        walk->large = true;
        walk->large_entry = entry;
    }
    else if ( umbra_read_physical(domain, entry & PTE_FRAME, domain->table, UMBRA_PAGE_SIZE) )
        return false;
    walk->table_va = walk->va & ~0x1fffffu;
    return true;
}

bool umbra_walk_next(struct umbra_domain *domain, struct umbra_walk *walk)
{
    while ( walk->va < walk->end )
    {
        uint32_t va = walk->va, mfn;
        uint64_t entry;

        if ( (va & ~0x1fffffu) != walk->table_va && !load_table(domain, walk) )
        {
            walk->va = (va & ~0x1fffffu) + 0x200000;
            if ( walk->va < va )
                break;
            continue;
        }
        walk->va = va + UMBRA_PAGE_SIZE;
        if ( !walk->va )
            walk->end = 0;
        if ( walk->large )
            entry = part_of_large(walk->large_entry, va);
        else
            memcpy(&entry, domain->table + ((va >> 12) & 511) * 8, 8);
        if ( (entry & (PTE_PRESENT | PTE_USER)) != (PTE_PRESENT | PTE_USER) ||
             (entry & PTE_FRAME) >> 12 >= UMBRA_NO_FRAME )
            continue;
        mfn = UMBRA_NO_FRAME;
        if ( !walk->addresses_only )
        {
            mfn = umbra_ops->gfn_to_mfn(domain->id, (uint32_t)((entry & PTE_FRAME) >> 12));
            if ( mfn == UMBRA_NO_FRAME )
                continue;
        }
        walk->page_va = va;
        walk->entry = entry;
        walk->gfn = (uint32_t)((entry & PTE_FRAME) >> 12);
        walk->mfn = mfn;
        return true;
    }
    return false;
}
