mod body;
mod mask;
mod meter;
mod verdict;
mod net;
