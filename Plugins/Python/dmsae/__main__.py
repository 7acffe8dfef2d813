"""`python3 -m dmsae …` is the program that was installed with this package; `--include` prints the folder of its C headers."""
import os
import sys


def installation():
    """The folder whose `bin`, `lib` and `include` pip put the program into: an environment's, a user's, or that of `--target`."""
    folder = os.path.dirname(os.path.abspath(__file__))
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if os.path.isfile(folder + "/bin/dmsae") and os.path.isfile(folder + "/include/dmsae/dmsae.h"):
            return folder
    sys.exit("python3 -m dmsae: no bin/dmsae and include/dmsae in any folder above %s; was this package installed from "
             "dmsae's wheel?" % os.path.dirname(os.path.abspath(__file__)))


if __name__ == "__main__":
    if sys.argv[1:] == ["--include"]:
        print(installation() + "/include")
    else:
        program = installation() + "/bin/dmsae"
        os.execv(program, [program] + sys.argv[1:])
