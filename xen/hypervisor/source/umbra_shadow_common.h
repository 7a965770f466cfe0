/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of shadow/common.c: it alone can walk the table of shadows. */
void umbra_shadow_forget_user(struct domain *d)
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
