//! Which programs, of which modules, at which versions.

/// What a set of programs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Needs {
    /// A control plane without nodes, and what talks to it
    ControlPlane,
    /// Pods without Kubernetes
    Cri,
    /// All of it: a whole node
    Node,
}

/// A Go module of programs, at the version that is tested. The folder in the cache is named after it.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) module: &'static str,
    /// Without the `v`.
    pub(super) version: &'static str,
    pub(super) programs: &'static [Program],
    /// Variables that the linker sets: `NAME=VALUE`, with `@V@` for the version, and `@MAJOR@` and `@MINOR@`
    /// for the two numbers of Kubernetes. What a program says of itself comes from them.
    pub(super) variables: &'static [&'static str],
    /// Build tags, with commas between them.
    pub(super) tags: &'static str,
    pub(super) language: Language,
}

/// What it is written in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Language {
    Go,
    /// With C in it, which needs this library of Debian.
    GoAndC(&'static str),
    C,
}

/// A program of a module.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// The folder of its main package in the module, or of its sources in C.
    pub(super) package: &'static str,
    pub(super) needs: Needs,
}

impl Component {
    /// The name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Its programs that are wanted for `needs`.
    pub(super) fn wanted(&self, needs: Needs) -> impl Iterator<Item = &'static Program> {
        self.programs.iter().filter(move |program| needs == Needs::Node || program.needs == needs)
    }

    /// What the linker is told: to leave out symbols, and the variables.
    pub(super) fn linker_flags(&self) -> String {
        let mut numbers = KUBERNETES.split('.');
        let (major, minor) = (numbers.next().unwrap_or("1"), numbers.next().unwrap_or("0"));
        let mut flags = "-s -w".to_owned();
        for variable in self.variables {
            let variable = variable.replace("@V@", self.version);
            let variable = variable.replace("@MAJOR@", major).replace("@MINOR@", minor);
            flags.push_str(" -X ");
            flags.push_str(&variable);
        }
        if self.language != Language::Go {
            // The cache may be older than the machine's libraries.
            flags.push_str(" -linkmode external -extldflags -static");
        }
        flags
    }
}

/// The module whose siblings it names by folders of its repository instead of versions.
pub(super) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";

const KUBERNETES: &str = "1.37.1";

const CRI_O_MODULE: &str = "github.com/cri-o/cri-o";

/// There is no later one to be had as a Go module.
const CRI_O: &str = "1.34.0";

/// Every module. The first ones are what a control plane waits for.
pub(super) const COMPONENTS: &[Component] = &[
    Component {
        name: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        version: "3.6.16",
        programs: &[Program { name: "etcd", package: "", needs: Needs::ControlPlane }],
        variables: &[],
        tags: "",
        language: Language::Go,
    },
    Component {
        name: "kubernetes",
        module: KUBERNETES_MODULE,
        version: KUBERNETES,
        programs: &[
            Program { name: "kubectl", package: "cmd/kubectl", needs: Needs::ControlPlane },
            Program {
                name: "kube-apiserver",
                package: "cmd/kube-apiserver",
                needs: Needs::ControlPlane,
            },
            Program {
                name: "kube-controller-manager",
                package: "cmd/kube-controller-manager",
                needs: Needs::ControlPlane,
            },
            Program { name: "kube-scheduler", package: "cmd/kube-scheduler", needs: Needs::Node },
            Program { name: "kubelet", package: "cmd/kubelet", needs: Needs::Node },
        ],
        variables: &[
            "k8s.io/component-base/version.gitVersion=v@V@",
            "k8s.io/component-base/version.gitMajor=@MAJOR@",
            "k8s.io/component-base/version.gitMinor=@MINOR@",
            "k8s.io/client-go/pkg/version.gitVersion=v@V@",
            "k8s.io/client-go/pkg/version.gitMajor=@MAJOR@",
            "k8s.io/client-go/pkg/version.gitMinor=@MINOR@",
        ],
        tags: "",
        language: Language::Go,
    },
    Component {
        name: "helm",
        module: "helm.sh/helm/v3",
        version: "3.22.0",
        programs: &[Program { name: "helm", package: "cmd/helm", needs: Needs::ControlPlane }],
        variables: &[
            "helm.sh/helm/v3/internal/version.version=v@V@",
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=@MAJOR@",
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=@MINOR@",
        ],
        tags: "",
        language: Language::Go,
    },
    Component {
        name: "containerd",
        module: "github.com/containerd/containerd/v2",
        version: "2.4.2",
        programs: &[
            Program { name: "containerd", package: "cmd/containerd", needs: Needs::Cri },
            Program {
                name: "containerd-shim-runc-v2",
                package: "cmd/containerd-shim-runc-v2",
                needs: Needs::Cri,
            },
            Program { name: "ctr", package: "cmd/ctr", needs: Needs::Cri },
        ],
        variables: &["github.com/containerd/containerd/v2/version.Version=@V@"],
        tags: "no_btrfs,no_devmapper,no_zfs",
        language: Language::Go,
    },
    Component {
        name: "runc",
        module: "github.com/opencontainers/runc",
        version: "1.5.2",
        programs: &[Program { name: "runc", package: "", needs: Needs::Cri }],
        variables: &["main.version=@V@"],
        tags: "seccomp,netgo,osusergo",
        language: Language::GoAndC("libseccomp-dev"),
    },
    Component {
        name: "cri-o",
        module: CRI_O_MODULE,
        version: CRI_O,
        programs: &[Program { name: "crio", package: "cmd/crio", needs: Needs::Cri }],
        variables: &[],
        tags: "seccomp,netgo,osusergo,containers_image_openpgp,containers_image_ostree_stub,\
            exclude_graphdriver_btrfs,btrfs_noversion",
        language: Language::GoAndC("libseccomp-dev"),
    },
    Component {
        name: "pinns",
        module: CRI_O_MODULE,
        version: CRI_O,
        programs: &[Program { name: "pinns", package: "pinns/src", needs: Needs::Cri }],
        variables: &[],
        tags: "",
        language: Language::C,
    },
    Component {
        name: "cri-tools",
        module: "sigs.k8s.io/cri-tools",
        version: "1.36.0",
        programs: &[Program { name: "crictl", package: "cmd/crictl", needs: Needs::Cri }],
        variables: &["sigs.k8s.io/cri-tools/pkg/version.Version=@V@"],
        tags: "",
        language: Language::Go,
    },
    Component {
        name: "cni-plugins",
        module: "github.com/containernetworking/plugins",
        version: "1.9.1",
        programs: &[
            Program { name: "ptp", package: "plugins/main/ptp", needs: Needs::Cri },
            Program { name: "host-local", package: "plugins/ipam/host-local", needs: Needs::Cri },
        ],
        variables: &[],
        tags: "",
        language: Language::Go,
    },
];
