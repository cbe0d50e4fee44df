mod body;
mod mask;
mod meter;
mod net;
mod residue;
mod verdict;
