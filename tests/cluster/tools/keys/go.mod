module kube-lego-once.test/cluster/keys

go 1.24.0
