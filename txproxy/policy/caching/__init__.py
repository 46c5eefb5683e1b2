"""What a shared cache may do (RFC 9111), decided from heads and times alone: nothing here stores, reads or sends."""
