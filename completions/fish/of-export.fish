# Completion for of-export; made by man/completions.py from the options' declarations.
complete -c of-export -s L -x -a 'features scores probabilities' -d 'The layer that the model gives'
complete -c of-export -l external-data -d 'Leave the weights in a file of their own beside the model'
complete -c of-export -l net -x -a 'tiny fast accurate vgg11 vgg16 vgg19' -d 'Network to run'
complete -c of-export -s l -d 'The same as --net accurate'
complete -c of-export -s d -x -a '(__fish_complete_directories)' -d 'Folder with the weights'
complete -c of-export -l version -d 'Show the version and exit'
complete -c of-export -s h -l help -d 'Show a short help and exit'
complete -c of-export -F
