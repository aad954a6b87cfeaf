"""What a run was made of: declarations as plain values, and the entry that each verb leaves. Nothing here computes."""
