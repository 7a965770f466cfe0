/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of shadow/common.c: it alone can walk the table of shadows. */
/* Entries of a PAE guest's highest table. */
#define UMBRA_GIGABYTES 4u

static void umbra_forget_all_users(struct domain *d)
{
    static const hash_domain_callback_t callbacks[SH_type_unused] = {
        [SH_type_l1_32_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 2),
        [SH_type_fl1_32_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 2),
        [SH_type_l1_pae_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 3),
        [SH_type_fl1_pae_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 3),
        [SH_type_l1_64_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 4),
        [SH_type_fl1_64_shadow] = SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 4),
    };

    HASH_CALLBACKS_CHECK(SHF_L1_ANY | SHF_FL1_ANY);
    hash_domain_foreach(d, SHF_L1_ANY | SHF_FL1_ANY, callbacks, INVALID_MFN);
}

/* The frame of memory that a table's entry leads to. */
static mfn_t umbra_table(struct domain *d, uint64_t entry)
{
    p2m_type_t type;
    mfn_t mfn = get_gfn_query_unlocked(d, paddr_to_pfn(entry & PADDR_MASK), &type);

    return p2m_is_ram(type) && mfn_valid(mfn) ? mfn : INVALID_MFN;
}

/* Empties the user entries of the shadows that a page directory of a PAE guest leads to. */
static void umbra_forget_users_below(struct domain *d, uint64_t gl3e)
{
    mfn_t table = gl3e & _PAGE_PRESENT ? umbra_table(d, gl3e) : INVALID_MFN;
    const uint64_t *directory;
    unsigned int i;

    if ( mfn_eq(table, INVALID_MFN) )
        return;
    directory = map_domain_page(table);
    for ( i = 0; i < PAGE_SIZE / sizeof(*directory); i++ )
    {
        uint64_t gl2e = directory[i];
        mfn_t shadow = INVALID_MFN, below;

        if ( !(gl2e & _PAGE_PRESENT) || !(gl2e & _PAGE_USER) )
            continue;
        if ( gl2e & _PAGE_PSE )
            shadow = shadow_hash_lookup(d, paddr_to_pfn(gl2e & PADDR_MASK), SH_type_fl1_pae_shadow);
        else if ( !mfn_eq(below = umbra_table(d, gl2e), INVALID_MFN) )
            shadow = shadow_hash_lookup(d, mfn_x(below), SH_type_l1_pae_shadow);
        if ( mfn_valid(shadow) )
            SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, 3)(d, shadow, INVALID_MFN);
    }
    unmap_domain_page(directory);
}

void umbra_shadow_forget_user(struct domain *d, uint32_t cr3)
{
    mfn_t table = cr3 ? umbra_table(d, cr3) : INVALID_MFN;
    uint64_t gl3e[UMBRA_GIGABYTES] = {};
    struct vcpu *v;
    unsigned int i;

    if ( !cr3 )
    {
        umbra_forget_all_users(d);
        return;
    }
    if ( !mfn_eq(table, INVALID_MFN) )
    {
        const uint8_t *page = map_domain_page(table);

        memcpy(gl3e, page + (cr3 & ~PAGE_MASK & ~31u), sizeof(gl3e));
        unmap_domain_page(page);
    }
    for ( i = 0; i < UMBRA_GIGABYTES; i++ )
        umbra_forget_users_below(d, gl3e[i]);
    /* Where it is loaded, the entries that count were read then, whatever stands in memory now. */
    for_each_vcpu ( d, v )
        for ( i = 0; i < UMBRA_GIGABYTES && !((v->arch.hvm.guest_cr[3] ^ cr3) & ~31ul); i++ )
            if ( v->arch.paging.shadow.gl3e[i].l3 != gl3e[i] )
                umbra_forget_users_below(d, v->arch.paging.shadow.gl3e[i].l3);
}
