module kube-lego-once.test/cluster/key-pairs

go 1.24.0
