module churnops.io/dev/tools/pause

go 1.26.0

tool churnops.io/dev/tools/pause
