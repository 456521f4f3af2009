NAME=$1; export REWARD=$2 ANCHOR=$3 OMP_NUM_THREADS=$4 JUDGES=${JUDGES:-ratings/judge[01].pt}
export CATGAN_CACHE_DIR=cache PYTHONPATH=src

exec nice python -m catgan train DATASET --from ${FROM:-bundled} -o runs/$NAME --set network.eye_heads=true \
 --set network.feature_resolution=256 --set training.images=1000000 --set loss.penalty=0.5 \
 --set optimizer.generator_freeze_images=${FREEZE:-512} --set optimizer.generator_ramp_images=${RAMP:-1024} \
 --set optimizer.generator_learning_rate=2e-4 --set optimizer.discriminator_learning_rate=3e-4 \
 --set training.ema_half_life=${EMA:-3000} --set training.early_stopping_images=0 --set output.checkpoint_images=${CP:-2048} > runs/$NAME.log 2>&1
