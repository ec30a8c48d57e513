module kube-lego-once.test/cluster/pause

go 1.24.0
