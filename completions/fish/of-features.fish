# Completion for of-features; made by man/completions.py from the options' declarations.
complete -c of-features -l format -x -a 'text npy' -d 'What to print'
complete -c of-features -l net -x -a 'tiny fast accurate vgg11 vgg16 vgg19' -d 'Network to run'
complete -c of-features -s l -d 'The same as --net accurate'
complete -c of-features -s d -x -a '(__fish_complete_directories)' -d 'Folder with the weights'
complete -c of-features -l device -x -a 'auto cpu cuda' -d 'Where to compute'
complete -c of-features -l threads -x -d 'Number of threads'
complete -c of-features -l batch -x -d 'Compute at most N pictures at a time'
complete -c of-features -l method -x -a 'auto gemm fft cook-toom' -d 'How to compute convolutions'
complete -c of-features -l strict -d 'Stop at the first picture that can\'t be used, or only in part'
complete -c of-features -s v -l verbose -d 'Report methods and times on stderr'
complete -c of-features -l version -d 'Show the version and exit'
complete -c of-features -s h -l help -d 'Show a short help and exit'
complete -c of-features -F
