/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of shadow/multi.c, compiled once a paging mode. */
int cf_check INTERNAL_NAME(umbra_forget_user_from_l1)(struct domain *d, mfn_t sl1mfn, mfn_t unused)
/* Empties every user entry of one L1 shadow; never the last word, so that the walk goes on. */
{
    shadow_l1e_t *sl1e;

    SHADOW_FOREACH_L1E(sl1mfn, sl1e, 0, 0,
    {
        if ( (shadow_l1e_get_flags(*sl1e) & _PAGE_USER) && !sh_l1e_is_magic(*sl1e) )
            shadow_set_l1e(d, sl1e, shadow_l1e_empty(), p2m_invalid, sl1mfn);
    });
    return 0;
}
