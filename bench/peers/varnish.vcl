# Varnish as a peer: the stock rules, and the fields that txproxy adds.
# @NAMES@ between at signs are filled in when the bench starts.

vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "@BACKEND@";
}

# [cachefields] Those that txproxy adds by default; Age and Via are Varnish's own. --bare-peers leaves them out.
sub vcl_deliver {
    set resp.http.X-Request-Id = req.xid;
    if (obj.hits > 0) {
        set resp.http.X-Cache-Status = "HIT";
        set resp.http.Cache-Status = "varnish; hit; ttl=864000";
    } else {
        set resp.http.X-Cache-Status = "MISS";
        set resp.http.Cache-Status = "varnish; fwd=uri-miss; stored";
    }
}
# [end]
