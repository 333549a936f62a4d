//! What is asked: every command that the proxy passes on, in many forms, one a line.
//!
//! A form's words stand between blanks. `$` and a letter is a key, all of a form's keys under one hash tag; `$S` and `$A` are
//! keys of any tag, for commands that the proxy splits. `%` and a letter is another word; [`crate::draw`] knows them all.

use crate::compare::How;

/// Forms, with how their replies are compared.
pub type Forms = &'static [(How, &'static str)];

/// Commands whose keys lie on one shard: they may be part of a transaction.
pub const KEYED: Forms = &[
    (How::Exact, EXACT),
    (How::Sorted, SORTED),
    (How::Pairs, PAIRS),
    (How::Near, NEAR),
    (How::Loose, LOOSE),
    // The order within a set or a hash is each server's own.
    (How::Kind, "DUMP $a"),
];

/// Commands that are split over shards, or asked of all of them, or answered by the proxy: not part of a transaction.
pub const APART: Forms = &[
    (How::Exact, SPLIT),
    (How::Exact, SERVER),
    (How::Sorted, SERVER_SORTED),
    (How::Kind, SERVER_KIND),
    (How::Claims, "SCRIPT EXISTS %1 %2 %3"),
    (How::ScriptMayLack, "EVALSHA_RO %1 1 $s"),
];

const EXACT: &str = "\
APPEND $s %v
BITCOUNT $s
BITCOUNT $s %n %n
BITCOUNT $s %n %n BIT
BITFIELD $s SET u8 %o %u GET i5 %o INCRBY u4 0 %n OVERFLOW FAIL INCRBY u4 0 9
BITFIELD_RO $s GET u8 %o GET i3 2
BITFIELD_RO $s SET u8 0 1
BITOP AND $s $s $s
BITOP NOT $s $s
BITOP XOR $s $s $p
BITPOS $s 1 %n
BITPOS $s 0 %n %n BIT
COPY $a $a
COPY $a $a REPLACE
DECR $s
DECRBY $s %n
DEL $a $a
ECHO %v
EVAL return{KEYS[1],KEYS[2],ARGV[1]} 2 $s $l %v
EVAL return{1,'x',{2,false}} 1 $s
EVAL return{err='MY'} 1 $s
EVAL return{ok='fine'} 1 $s
EVAL return(redis.call('incrby',KEYS[1],ARGV[1])) 1 $s %n
EVAL redis.call('rpush',KEYS[1],ARGV[1])return(redis.call('lrange',KEYS[1],0,-1)) 1 $l %v
EVAL redis.setresp(3)return(true) 1 $s
EVAL return(redis.call('hgetall',KEYS[1])) 1 $i
EVAL syntax( 1 $s
EVAL return(1) 2 $s
EVAL return(1) -1 $s
EVAL_RO return(redis.call('get',KEYS[1])) 1 $s
EVAL_RO return(redis.call('set',KEYS[1],'1')) 1 $s
EXISTS $a
EXPIRE $a %e
EXPIRE $a %e NX
EXPIRE $a %e NX GT
EXPIREAT $a %t
EXPIREAT $a %t GT
EXPIREAT $a %t LT
EXPIREAT $a %t XX
FCALL put 1 $s %v
FCALL both 2 $s $l
FCALL nothing 1 $s
FCALL_RO look 1 $s
FCALL_RO put 1 $s %v
GEOADD $g %j %k %m %j %k %m
GEOADD $g NX CH %j %k %m
GEOADD $g 200 100 %m
GEODIST $g %m %m
GEODIST $g %m %m km
GEOHASH $g %m %m
GEOPOS $g %m %m
GEORADIUS $g %j %k 5000 km ASC
GEORADIUS $g %j %k 9000 km WITHCOORD WITHDIST WITHHASH COUNT 2 DESC
GEORADIUS $g %j %k 9000 km ASC STORE $g
GEORADIUS_RO $g %j %k 4000 mi ASC
GEORADIUSBYMEMBER $g %m 9000 km ASC
GEORADIUSBYMEMBER_RO $g %m 9000 km DESC WITHDIST
GEOSEARCH $g FROMMEMBER %m BYRADIUS 9000 km ASC
GEOSEARCH $g FROMLONLAT %j %k BYBOX 9000 9000 km DESC WITHDIST
GEOSEARCHSTORE $g $g FROMLONLAT %j %k BYRADIUS 9000 km
GEOSEARCHSTORE $z $g FROMLONLAT %j %k BYBOX 900 900 km STOREDIST
GET $s
GETBIT $s %o
GETDEL $s
GETEX $s
GETEX $s EXAT %t
GETEX $s PERSIST
GETRANGE $s %n %n
GETSET $s %v
HDEL $h %f %f
HEXISTS $h %f
HGET $h %f
HINCRBY $h %f %n
HINCRBYFLOAT $h %f 0.5
HLEN $h
HMGET $h %f %f %f
HMSET $h %f %v %f %v
HSET $h %f %v %f %v
HSET $h %f %v
HSET $i %f %u
HSETNX $h %f %v
HSTRLEN $h %f
INCR $s
INCRBY $s %n
INCRBYFLOAT $s 0.25
LCS $s $s
LCS $s $s LEN
LCS $s $s IDX MINMATCHLEN 1 WITHMATCHLEN
LINDEX $l %n
LINSERT $l BEFORE %v %v
LINSERT $l AFTER %v %v
LLEN $l
LMOVE $l $l LEFT RIGHT
LMOVE $l $l RIGHT MIDDLE
LMPOP 2 $l $l LEFT COUNT 2
LMPOP 0 $l RIGHT
LMPOP -1 $l RIGHT
LPOP $l
LPOP $l %u
LPOS $l %v RANK -1 COUNT 2
LPUSH $l %v %v
LPUSH $l %B
LPUSHX $l %v
LRANGE $l %n %n
LREM $l %n %v
LSET $l %n %v
LTRIM $l %n 15
MGET $s $s $s
MSET $s %v $s %v
MSET $s %v $s
MSETNX $s %v $s %v
OBJECT ENCODING $a
OBJECT HELP
OBJECT NOSUCH $a
OBJECT REFCOUNT $s
OBJECT FREQ $a
PERSIST $a
PEXPIRE $a %e000
PEXPIREAT $a %T
PEXPIREAT $a %T GT
PFADD $p %m %m
PFADD $p
PFCOUNT $p
PFCOUNT $p $p
PFMERGE $p $p $p
PING
PING %v
PING %v %v
PSETEX $s %e000 %v
PUBLISH $k %v
SPUBLISH $k %v
RENAME $a $a
RENAMENX $a $a
RESTORE $s 0 %D REPLACE
RESTORE $s 0 %D
RESTORE $s 0 garbage REPLACE
RPOP $l
RPOP $l %n
RPOPLPUSH $l $l
RPUSH $l %v %v %v
RPUSH $l %u %u
RPUSHX $l %v
SADD $e %m %m
SADD $e %u %u
SCARD $e
SDIFFSTORE $e $e $e
SET $s %v
SET $s %v NX
SET $s %v XX GET
SET $s %v EX %e
SET $s %v EXAT %t
SET $s %v KEEPTTL
SET $s %v EX 0
SET $s %B
SET $s %u
SETBIT $s %o 1
SETBIT $s %o %n
SETEX $s %e %v
SETNX $s %v
SETRANGE $s %o %v
SINTERCARD 2 $e $e
SINTERCARD 2 $e $e LIMIT 1
SINTERSTORE $e $e $e
SISMEMBER $e %m
SMISMEMBER $e %m %m
SMOVE $e $e %m
SORT $l ALPHA
SORT $l
SORT $l ALPHA DESC LIMIT 0 3
SORT $e ALPHA GET #
SORT $l ALPHA STORE $l
SORT_RO $l ALPHA
SREM $e %m %m
STRLEN $s
SUBSTR $s 0 2
SUNIONSTORE $e $e $e
TOUCH $a $a
TYPE $a
UNLINK $a $a
XACK $x %G %i %i
XADD $x %i f %v
XADD $x NOMKSTREAM %i f %v g %v
XADD $x MAXLEN 8 %i f %v
XADD $x MAXLEN ~ 100 %i f
XCLAIM $x %G %c 0 %i %i
XCLAIM $x %G %c 0 %i JUSTID
XAUTOCLAIM $x %G %c 0 0 COUNT 3
XAUTOCLAIM $x %G %c 0 0 JUSTID
XDEL $x %i
XGROUP CREATE $x %G %i
XGROUP CREATE $x %G 0 MKSTREAM
XGROUP CREATECONSUMER $x %G %c
XGROUP DELCONSUMER $x %G %c
XGROUP DESTROY $x %G
XGROUP SETID $x %G %i
XGROUP HELP
XGROUP NOSUCH $x
XINFO GROUPS $x
XINFO HELP
XLEN $x
XPENDING $x %G
XRANGE $x - + COUNT 5
XRANGE $x (%i +
XREAD COUNT 2 STREAMS $x $x 0 %i
XREAD STREAMS $x
XREADGROUP GROUP %G %c COUNT 2 STREAMS $x >
XREADGROUP GROUP %G %c STREAMS $x 0
XREADGROUP GROUP %G %c NOACK STREAMS $x $x > >
XREVRANGE $x + -
XSETID $x 900-1
XTRIM $x MAXLEN 5
XTRIM $x MINID = %i LIMIT 2
ZADD $z %q %m %q %m
ZADD $z GT CH %q %m
ZADD $z NX %q %m
ZADD $z INCR %q %m
ZADD $z NX GT 1 a
ZADD $z nan %m
ZCARD $z
ZCOUNT $z (%q +inf
ZDIFF 2 $z $z WITHSCORES
ZDIFFSTORE $z 2 $z $z
ZINCRBY $z %q %m
ZINTER 2 $z $z WITHSCORES
ZINTER 2 $z $z WEIGHTS 2 3 AGGREGATE MAX
ZINTERCARD 2 $z $z
ZINTERSTORE $z 2 $z $e AGGREGATE MIN
ZLEXCOUNT $z - [m
ZMPOP 2 $z $z MIN
ZMPOP 1 $z MAX COUNT 2
ZMSCORE $z %m %m
ZPOPMAX $z
ZPOPMIN $z 2
ZRANGE $z 0 -1 WITHSCORES
ZRANGE $z (%q +inf BYSCORE LIMIT 0 2
ZRANGE $z 0 1 REV
ZRANGEBYLEX $z - +
ZRANGEBYSCORE $z -inf %q WITHSCORES
ZRANGESTORE $z $z 0 2
ZRANK $z %m
ZREM $z %m %m
ZREMRANGEBYLEX $z [m3 [m4
ZREMRANGEBYRANK $z 4 9
ZREMRANGEBYSCORE $z 7 8
ZREVRANGE $z 0 2 WITHSCORES
ZREVRANGEBYLEX $z + - LIMIT 0 2
ZREVRANGEBYSCORE $z +inf -inf
ZREVRANK $z %m
ZSCORE $z %m
ZUNION 2 $z $z
ZUNIONSTORE $z 2 $z $z WEIGHTS 1 0.5
ZUNIONSTORE $z x $z";

const SORTED: &str = "\
HKEYS $h
HVALS $h
SDIFF $e $e
SINTER $e $e
SMEMBERS $e
SUNION $e $e
SSCAN $e 0 COUNT 1000
SSCAN $e nothing
SORT $e BY nosort
SORT $z BY nosort";

const PAIRS: &str = "\
HGETALL $h
HSCAN $h 0 COUNT 1000
HSCAN $h 0 MATCH f1* COUNT 1000
ZSCAN $z 0 COUNT 1000";

const NEAR: &str = "\
TTL $a
PTTL $a
EXPIRETIME $a
PEXPIRETIME $a
MEMORY USAGE $a";

const LOOSE: &str = "\
OBJECT IDLETIME $a
XPENDING $x %G - + 10
XPENDING $x %G IDLE 0 - + 2 %c
XINFO CONSUMERS $x %G
XINFO STREAM $x
XINFO STREAM $x FULL";

const SPLIT: &str = "\
MGET $S $A $S $S
MGET $S $S $S
MSET $S %v $S %v $S %v
MSET $S %v $S
DEL $A $A $A
UNLINK $A $A
TOUCH $A $A $A
EXISTS $A $A $A
EXISTS $A $A
PUBLISH %C %v
SPUBLISH %C %v";

const SERVER: &str = "\
DBSIZE
DBSIZE x
FLUSHALL SOON
FLUSHDB %Y
KEYS nothing*
SCAN not-a-cursor
SCAN 0 COUNT 0
SCAN 0 NOSUCH 1
SCRIPT LOAD return(1)
SCRIPT NOSUCH
SCRIPT HELP
SCRIPT FLUSH SOON
FUNCTION LOAD %L
FUNCTION LOAD REPLACE %L
FUNCTION LOAD garbage
FUNCTION DELETE nosuch
FUNCTION HELP
FUNCTION RESTORE garbage
COMMAND COUNT
COMMAND GETKEYS MSET a 1 b 2
COMMAND GETKEYS GET
COMMAND GETKEYSANDFLAGS SET a 1
COMMAND INFO GET nosuch
COMMAND LIST FILTERBY MODULE nosuch
COMMAND HELP
COMMAND NOSUCH
CLIENT GETNAME
CLIENT SETNAME %f
CLIENT SETNAME a\tb
CLIENT REPLY ON
CLIENT REPLY MAYBE
CLIENT NO-EVICT ON
CLIENT NO-EVICT maybe
CLIENT GETREDIR
CLIENT TRACKINGINFO
CLIENT TRACKING OFF
CLIENT LIST TYPE replica
CLIENT LIST TYPE nosuch
CLIENT LIST ID x
CLIENT LIST NOSUCH 1
CLIENT INFO x
CLIENT NOSUCH
CLIENT GETNAME x
CLIENT CACHING YES
CONFIG GET databases
CONFIG GET nosuch
CONFIG NOSUCH
CONFIG GET
CLUSTER INFO
CLUSTER MYID
CLUSTER KEYSLOT a
READONLY
READWRITE
ASKING
SELECT 0
SELECT x
SELECT 99
AUTH x
AUTH default x
AUTH nobody x
AUTH a b c
UNWATCH
DISCARD
EXEC
PUBSUB NUMSUB
PUBSUB NUMSUB %C
PUBSUB SHARDNUMSUB %C
PUBSUB NUMPAT
PUBSUB HELP
PUBSUB NOSUCH
HELLO 9
HELLO x
HELLO 2 NOSUCH
LATENCY NOSUCH
MEMORY NOSUCH
SLOWLOG NOSUCH
SLOWLOG HELP
MODULE HELP
LATENCY HELP
MEMORY HELP
NOSUCH
NOSUCH a %v
GET
SUBSCRIBE
MSET
EVAL
ZADD $z";

const SERVER_SORTED: &str = "\
KEYS *
KEYS {t1*
KEYS *s1
PUBSUB CHANNELS
PUBSUB CHANNELS c1*
PUBSUB SHARDCHANNELS
COMMAND LIST";

const SERVER_KIND: &str = "\
TIME
CONFIG HELP
CLIENT HELP
INFO
INFO server
INFO nosuch
LOLWUT
CLIENT ID
CLIENT INFO
CLIENT LIST
COMMAND
COMMAND DOCS GET
COMMAND INFO
FUNCTION DUMP
FUNCTION LIST
FUNCTION LIST LIBRARYNAME mylib
LATENCY LATEST
LATENCY HISTORY command
SLOWLOG GET
SLOWLOG GET 2
SLOWLOG LEN
MODULE LIST
ROLE
CONFIG GET *";
